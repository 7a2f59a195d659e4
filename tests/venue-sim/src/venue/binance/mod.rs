//! Binance spot and USD-M futures, as of November 2026.

mod control;
mod frames;
mod instruments;
mod rest;

use std::sync::Arc;
use std::time::Duration;

pub use instruments::Binance;

use crate::ledger::{EventData, TradeKind, TradeRecord};
use crate::market::{Event, Instrument, MarketRules, Topic, UpdateIds};
use crate::venue::{
    BanRules, Content, ControlReply, Encoded, Limits, ListedInstrument, Opening, PerWindow, Profile,
    RestAnswer, RestCall, RestRequest, SessionView, Source, Stream, Venue, encode_event,
};

/// Liquidations of all instruments, with those of the coin-margined venue.
const ALL_LIQUIDATIONS: &str = "!forceOrder@arr";

const AGGREGATES: Content = Content::Trades(TradeKind::Aggregate);

const SPOT_STREAMS: &[(&str, Content)] = &[
    ("@trade", Content::Trades(TradeKind::Trade)),
    ("@aggTrade", AGGREGATES),
    ("@depth@100ms", Content::Book(0)),
    ("@depth", Content::Book(1)),
    ("@bookTicker", Content::Ticker),
];
/// Raw trades are undocumented and silent on the documented routes.
const USD_M_STREAMS: &[(&str, Content)] = &[
    ("@aggTrade", AGGREGATES),
    ("@bookTicker", Content::Ticker),
    ("@depth@100ms", Content::Book(0)),
    ("@depth@0ms", Content::Book(0)),
    ("@depth", Content::Book(1)),
    ("@depth@250ms", Content::Book(1)),
    ("@depth@500ms", Content::Book(2)),
    ("@markPrice@1s", Content::Timed(Topic::Mark(0))),
    ("@markPrice", Content::Timed(Topic::Mark(1))),
    ("@forceOrder", Content::Timed(Topic::Liquidation)),
];

const MINUTE: Duration = Duration::from_secs(60);

const SPOT: Profile = Profile {
    exchange: "binance_spot",
    rules: MarketRules {
        update_ids: UpdateIds::Consecutive,
        cadences_ms: &[0, 1000],
        announces_unknown: true,
        depth_min: 650,
        ..MarketRules::DEFAULT
    },
    limits: Limits {
        ping_every: Some(Duration::from_secs(20)),
        pong_within: MINUTE,
        age_max: Some(Duration::from_hours(24)),
        idle_within: None,
        messages_per_second: 5,
        requests: None,
        streams_max: 1024,
        connects: Some(PerWindow { max: 300, window: Duration::from_mins(5) }),
        weight: PerWindow { max: 6000, window: MINUTE },
        bans: Some(BanRules { ignored_max: 10, ban: Duration::from_mins(2) }),
    },
    usual_trades: TradeKind::Trade,
    trades_per_frame: 1,
    past_minutes: 0,
    indices: &[],
    weight_header: Some("x-mbx-used-weight-1m"),
    names_wait: true,
    restarts_sequence: false,
};

const USD_M: Profile = Profile {
    exchange: "binance_derivatives",
    rules: MarketRules {
        update_ids: UpdateIds::Leaping,
        cadences_ms: &[0, 250, 500],
        topics: &[(Topic::Mark(0), 1000), (Topic::Mark(1), 3000), (Topic::Liquidation, 1000)],
        // One order per symbol per second.
        liquidations_max: 1,
        ..SPOT.rules
    },
    limits: Limits {
        ping_every: Some(Duration::from_mins(3)),
        pong_within: Duration::from_mins(10),
        messages_per_second: 10,
        weight: PerWindow { max: 2400, window: MINUTE },
        ..SPOT.limits
    },
    usual_trades: TradeKind::Aggregate,
    ..SPOT
};

impl Venue for Binance {
    fn profile(&self) -> &'static Profile {
        if self.spot { &SPOT } else { &USD_M }
    }

    fn instrument(&self, symbol: &str, now_ms: i64) -> Option<Instrument> {
        self.is_own_form(symbol).then(|| self.by_name(symbol, now_ms))
    }

    fn default_symbols(&self, now_ms: i64) -> Vec<String> {
        self.usual_symbols(now_ms)
    }

    fn streams(&self, instrument: &Instrument) -> Vec<Stream> {
        let symbol = instrument.symbol.to_lowercase();
        let streams = if self.spot { SPOT_STREAMS } else { USD_M_STREAMS };
        let stream = |(suffix, content): &(&str, Content)| Stream {
            name: format!("{symbol}{suffix}").into(),
            content: *content,
        };
        streams.iter().map(stream).collect()
    }

    fn shared_streams(&self, _listed: &[ListedInstrument]) -> Vec<Arc<str>> {
        if self.spot { Vec::new() } else { vec![ALL_LIQUIDATIONS.into()] }
    }

    fn liquidation_stream(&self, _instrument: &Instrument) -> Option<String> {
        Some(ALL_LIQUIDATIONS.to_owned())
    }

    fn open(&self, path: &str, query: &str) -> Option<Opening> {
        let (route, rest) = match path.strip_prefix("/public/").or(path.strip_prefix("/market/")) {
            Some(rest) if !self.spot => {
                (if path.starts_with("/public/") { "public" } else { "market" }, rest)
            }
            _ => ("bare", path.strip_prefix('/')?),
        };
        let (combined, names) = if rest.trim_end_matches('/') == "stream" {
            let named = query.split('&').find_map(|pair| pair.strip_prefix("streams=")).unwrap_or("");
            (true, named.replace("%40", "@").replace("%2F", "/").replace("%2f", "/"))
        } else {
            let named = rest.strip_prefix("ws").filter(|named| named.is_empty() || named.starts_with('/'))?;
            (false, named.to_owned())
        };
        let streams = names.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Opening { route, combined, streams })
    }

    /// Book data and market data have routes of their own; streams on the wrong route or the old bare path stay silent.
    fn carries(&self, route: &str, stream: &str) -> bool {
        let kind = stream.split_once('@').map_or("", |(_, kind)| kind);
        let is_book = kind.starts_with("depth") || kind == "bookTicker";
        self.spot || (route == "public" && is_book) || (route == "market" && !is_book)
    }

    fn on_message(&self, text: &str, view: SessionView<'_>) -> ControlReply {
        control::on_message(text, view)
    }

    fn trade_frame(
        &self,
        listed: &ListedInstrument,
        kind: TradeKind,
        _stream: &str,
        records: &[TradeRecord],
    ) -> String {
        records.iter().map(|record| self.trade(listed, kind, record)).collect()
    }

    fn event_frame(&self, listed: &ListedInstrument, _stream: &str, event: &Event) -> String {
        self.frame(&listed.instrument, event)
    }

    fn event_data(&self, listed: &ListedInstrument, event: &Event) -> Vec<EventData> {
        frames::event_data(&listed.instrument, event)
    }

    fn encode(
        &self,
        listed: &ListedInstrument,
        event: &Event,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Vec<Encoded> {
        let mut encoded = encode_event(self, listed, event, wanted);
        if let Event::Liquidations(orders) = event
            && wanted(ALL_LIQUIDATIONS)
        {
            let all = Arc::from(ALL_LIQUIDATIONS);
            let frames = orders
                .iter()
                .map(|order| (Arc::clone(&all), frames::foreign_liquidation(&listed.instrument, order)));
            encoded.push(Encoded { events: Vec::new(), frames: frames.collect() });
        }
        encoded
    }

    fn wrap(&self, stream: &str, raw: &str) -> String {
        ["{\"stream\":\"", stream, "\",\"data\":", raw, "}"].concat()
    }

    fn shutdown_notice(&self, now_ms: i64) -> Option<(&'static str, String)> {
        Some(("!serverShutdown", format!(r#"{{"e":"serverShutdown","E":{now_ms}}}"#)))
    }

    fn rest_call(&self, request: &RestRequest) -> RestCall {
        self.call(request)
    }

    fn rest_answer(&self, request: &RestRequest, source: &dyn Source) -> RestAnswer {
        self.answer(request, source).unwrap_or_else(|refusal| refusal)
    }

    fn rest_refusal(&self, status: u16, until_ms: i64) -> String {
        let limit = self.profile().limits.weight.max;
        let advice = "Please use WebSocket Streams for live updates to avoid";
        let text = if status == 418 {
            format!("Way too much request weight used; IP banned until {until_ms}. {advice} bans.")
        } else {
            let rule = format!("current limit is {limit} request weight per 1 MINUTE");
            format!("Too much request weight used; {rule}. {advice} polling the API.")
        };
        format!(r#"{{"code":-1003,"msg":"{text}"}}"#)
    }

    fn owns_url(&self, url: &str) -> bool {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', ':']).next().unwrap_or("");
        let futures = host.starts_with("fstream.") || host.starts_with("fapi.");
        let binance = host.ends_with("binance.com") || host.ends_with("binance.vision");
        binance && futures != self.spot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_form_opens_its_streams() {
        let [spot, futures] = [true, false].map(|spot| Binance { spot });
        for (venue, path, query, expected) in [
            (spot, "/ws", "", Some(("bare", false, ""))),
            (spot, "/ws/a@trade", "", Some(("bare", false, "a@trade"))),
            (spot, "/stream", "streams=a@trade/b@depth@100ms", Some(("bare", true, "a@trade,b@depth@100ms"))),
            (futures, "/public/stream", "", Some(("public", true, ""))),
            (futures, "/market/ws/a@aggTrade", "", Some(("market", false, "a@aggTrade"))),
            (spot, "/public/ws", "", None),
            (spot, "/api/v3/time", "", None),
        ] {
            let opened = venue.open(path, query).map(|o| (o.route, o.combined, o.streams.join(",")));
            let expected = expected.map(|(route, combined, streams)| (route, combined, streams.to_owned()));
            assert_eq!(opened, expected, "{path}");
        }
        for (route, stream, carried) in [
            ("public", "btcusdt@depth@100ms", true),
            ("public", "btcusdt@aggTrade", false),
            ("market", "btcusdt@aggTrade", true),
            ("bare", "btcusdt@aggTrade", false),
        ] {
            assert_eq!(futures.carries(route, stream), carried, "{route} {stream}");
        }
    }
}
