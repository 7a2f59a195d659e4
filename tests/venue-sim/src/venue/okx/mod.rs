//! OKX spot, and its swaps, futures and options, as of November 2026.
//!
//! Streams are named `channel:instId` or `channel:instType`.

mod control;
mod frames;
mod instruments;
mod rest;

use std::sync::Arc;
use std::time::Duration;

use instruments::{LIQUIDATIONS, instrument_type};

use crate::ledger::{EventData, TradeKind, TradeRecord};
use crate::market::{Contract, Event, Instrument, MarketRules, Topic};
use crate::venue::{
    Content, ControlReply, Limits, ListedInstrument, Newest, Opening, PerWindow, Profile, RestAnswer,
    RestCall, RestRequest, SessionView, Snapshot, Source, Stream, Venue,
};

const CHANNELS: [(&str, Content); 6] = [
    ("books", Content::Book(0)),
    ("trades", Content::Trades(TradeKind::Aggregate)),
    ("tickers", Content::Ticker),
    ("open-interest", Content::Timed(Topic::Interest)),
    ("mark-price", Content::Timed(Topic::Mark(0))),
    ("funding-rate", Content::Timed(Topic::Funding)),
];

const SPOT: Profile = Profile {
    exchange: "okx_spot",
    // The channel shows 400 levels: the whole book must stay within them.
    rules: MarketRules {
        still_book_ms: Some(60_000),
        funding_scale: 16,
        interest_ms: 3000,
        ..MarketRules::DEFAULT
    },
    limits: Limits {
        ping_every: None,
        pong_within: Duration::from_mins(1),
        age_max: None,
        idle_within: Some(Duration::from_secs(30)),
        messages_per_second: usize::MAX,
        requests: Some(PerWindow { max: 480, window: Duration::from_hours(1) }),
        streams_max: usize::MAX,
        connects: Some(PerWindow { max: 3, window: Duration::from_secs(1) }),
        // Each endpoint has a pool of its own instead.
        weight: PerWindow { max: u32::MAX, window: Duration::from_secs(2) },
        bans: None,
    },
    usual_trades: TradeKind::Aggregate,
    trades_per_frame: 16,
    past_minutes: 0,
    indices: &[],
    weight_header: None,
    names_wait: true,
    restarts_sequence: true,
};

const DERIVATIVES: Profile = Profile {
    exchange: "okx_derivatives",
    rules: MarketRules {
        topics: &[
            (Topic::Funding, 30_000),
            (Topic::Interest, 3000),
            (Topic::Mark(0), 1000),
            (Topic::Liquidation, 1000),
        ],
        liquidations_max: 3,
        ..SPOT.rules
    },
    ..SPOT
};

#[derive(Debug, Clone, Copy)]
pub struct Okx {
    pub spot: bool,
}

impl Venue for Okx {
    fn profile(&self) -> &'static Profile {
        if self.spot { &SPOT } else { &DERIVATIVES }
    }

    fn instrument(&self, symbol: &str, _now_ms: i64) -> Option<Instrument> {
        instruments::by_name(symbol, self.spot)
    }

    fn default_symbols(&self, now_ms: i64) -> Vec<String> {
        instruments::default_symbols(self.spot, now_ms)
    }

    fn streams(&self, instrument: &Instrument) -> Vec<Stream> {
        let count = match (&instrument.contract, instrument.funding_hours) {
            (Contract::Spot, _) => 3,
            (_, None) => 5,
            _ => CHANNELS.len(),
        };
        let symbol = &instrument.symbol;
        let stream = |(channel, content)| Stream { name: format!("{channel}:{symbol}").into(), content };
        CHANNELS.into_iter().take(count).map(stream).collect()
    }

    fn shared_streams(&self, listed: &[ListedInstrument]) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> =
            listed.iter().filter_map(|l| self.liquidation_stream(&l.instrument)).map(Arc::from).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn liquidation_stream(&self, instrument: &Instrument) -> Option<String> {
        (!self.spot).then(|| format!("{LIQUIDATIONS}:{}", instrument_type(instrument)))
    }

    fn trade_id(&self, record: &TradeRecord) -> String {
        record.matches.1.to_string()
    }

    fn open(&self, path: &str, _query: &str) -> Option<Opening> {
        let opening = Opening { route: "public", combined: false, streams: Vec::new() };
        (path == "/ws/v5/public").then_some(opening)
    }

    fn on_message(&self, text: &str, view: SessionView<'_>) -> ControlReply {
        control::on_message(text, view)
    }

    fn trade_frame(
        &self,
        listed: &ListedInstrument,
        _kind: TradeKind,
        _stream: &str,
        records: &[TradeRecord],
    ) -> String {
        frames::trades(&listed.instrument, records)
    }

    fn event_frame(&self, listed: &ListedInstrument, _stream: &str, event: &Event) -> String {
        frames::frame(&listed.instrument, event)
    }

    fn event_data(&self, listed: &ListedInstrument, event: &Event) -> Vec<EventData> {
        frames::event_data(&listed.instrument, event)
    }

    fn snapshot_frame(
        &self,
        listed: &ListedInstrument,
        _stream: &str,
        snapshot: &Snapshot,
    ) -> Option<String> {
        Some(frames::snapshot(&listed.instrument, snapshot))
    }

    fn first_frame(
        &self,
        stream: &str,
        listed: &[ListedInstrument],
        newest: &Newest<'_>,
    ) -> Option<(String, Vec<u64>)> {
        let kind = stream.strip_prefix(LIQUIDATIONS)?.strip_prefix(':')?;
        frames::recent_liquidations(kind, listed, newest)
    }

    fn shutdown_notice(&self, _now_ms: i64) -> Option<(&'static str, String)> {
        let text = "The connection will soon be closed for a service upgrade. Please reconnect.";
        Some(("", format!(r#"{{"event":"notice","code":"64008","msg":"{text}","connId":"a4d3ae55"}}"#)))
    }

    fn rest_call(&self, request: &RestRequest) -> RestCall {
        rest::call(request)
    }

    fn rest_answer(&self, request: &RestRequest, source: &dyn Source) -> RestAnswer {
        rest::answer(request, source).unwrap_or_else(|refusal| refusal)
    }

    fn rest_refusal(&self, _status: u16, _until_ms: i64) -> String {
        rest::error("50011", "Too Many Requests").body
    }

    fn rest_error(&self, code: u16) -> Option<RestAnswer> {
        Some(rest::error(&code.to_string(), "on command"))
    }

    fn owns_url(&self, url: &str) -> bool {
        url.contains("okx.com") && url.contains("instType=SPOT") == self.spot
    }
}
