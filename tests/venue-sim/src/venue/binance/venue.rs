//! The two exchanges as one implementation with a switch.

use std::sync::Arc;
use std::time::Duration;

use super::{control, encode, instruments, rest, streams};
use crate::ledger::{TradeKind, TradeRecord};
use crate::market::{Event, Instrument, MarketRules, Topic, UpdateIds};
use crate::venue::{
    Control, Encoded, Limits, Listed, Opening, PerWindow, RestAnswer, RestCall, RestRequest, SessionView,
    Source, Venue,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Which of the two exchanges is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    /// Spot.
    Spot,
    /// USD-M futures.
    UsdM,
}

/// Binance spot or USD-M futures.
#[derive(Debug, Clone, Copy)]
pub struct Binance {
    flavor: Flavor,
}

impl Binance {
    /// Spot.
    #[must_use]
    pub fn spot() -> Binance {
        Binance { flavor: Flavor::Spot }
    }

    /// USD-M futures.
    #[must_use]
    pub fn usd_m() -> Binance {
        Binance { flavor: Flavor::UsdM }
    }
}

impl Venue for Binance {
    fn exchange(&self) -> &'static str {
        match self.flavor {
            Flavor::Spot => "binance_spot",
            Flavor::UsdM => "binance_derivatives",
        }
    }

    fn rules(&self) -> MarketRules {
        let spot = self.flavor == Flavor::Spot;
        MarketRules {
            update_ids: if spot { UpdateIds::Consecutive } else { UpdateIds::Leaping },
            cadences_ms: if spot { &[0, 1000] } else { &[0, 250, 500] },
            topics: if spot {
                &[]
            } else {
                &[(Topic::Mark(0), 1000), (Topic::Mark(1), 3000), (Topic::Liquidation, 1000)]
            },
            // One order per symbol per second.
            liquidations_max: usize::from(!spot),
            still_book_ms: None,
            announces_unknown: true,
            funding_scale: 8,
            interest_ms: 1000,
            ratio_ms: 300_000,
            history_changes: 200_000,
            depth_min: 650,
        }
    }

    fn limits(&self) -> Limits {
        let spot = self.flavor == Flavor::Spot;
        let seconds = |spot_s, usd_m_s| Duration::from_secs(if spot { spot_s } else { usd_m_s });
        Limits {
            ping_every: Some(seconds(20, 180)),
            pong_within: seconds(60, 600),
            age_max: Some(Duration::from_secs(24 * 3600)),
            idle_within: None,
            messages_per_second: if spot { 5 } else { 10 },
            requests: None,
            streams_max: 1024,
            connects: Some(PerWindow { max: 300, window: 5 * MINUTE }),
            weight: PerWindow { max: if spot { 6000 } else { 2400 }, window: MINUTE },
            bans: true,
        }
    }

    fn instruments(&self, symbols: &[String], now_ms: i64) -> Vec<Instrument> {
        instruments::listed(self.flavor, symbols, now_ms)
    }

    fn streams(&self, instrument: &Instrument) -> Vec<Arc<str>> {
        streams::names(self.flavor, instrument)
    }

    fn shared_streams(&self, _listed: &[Listed]) -> Vec<Arc<str>> {
        match self.flavor {
            Flavor::Spot => Vec::new(),
            Flavor::UsdM => vec![Arc::from(streams::ALL_LIQUIDATIONS)],
        }
    }

    fn trade_streams<'a>(&self, listed: &'a Listed, kind: TradeKind) -> &'a [Arc<str>] {
        streams::trades(self.flavor, listed, kind)
    }

    fn depth_streams<'a>(&self, listed: &'a Listed, cadence: usize) -> &'a [Arc<str>] {
        streams::depth(self.flavor, listed, cadence)
    }

    fn usual_trades(&self) -> TradeKind {
        match self.flavor {
            Flavor::Spot => TradeKind::Trade,
            Flavor::UsdM => TradeKind::Aggregate,
        }
    }

    fn open(&self, path: &str, query: &str) -> Option<Opening> {
        streams::open(self.flavor, path, query)
    }

    fn carries(&self, route: &str, stream: &str) -> bool {
        streams::carries(self.flavor, route, stream)
    }

    fn on_message(&self, text: &str, view: SessionView<'_>) -> Control {
        control::on_message(text, view)
    }

    fn encode_trades(
        &self,
        listed: &Listed,
        kind: TradeKind,
        _stream: &str,
        records: &[TradeRecord],
    ) -> String {
        records.iter().map(|record| encode::trade(self.flavor, listed, kind, record)).collect()
    }

    fn encode(&self, listed: &Listed, event: &Event, wants: &dyn Fn(&str) -> bool) -> Vec<Encoded> {
        encode::event(self.flavor, listed, event, wants)
    }

    fn wrap(&self, stream: &str, raw: &str) -> String {
        let mut text = String::with_capacity(stream.len() + raw.len() + 24);
        for part in ["{\"stream\":\"", stream, "\",\"data\":", raw, "}"] {
            text.push_str(part);
        }
        text
    }

    fn shutdown_notice(&self, now_ms: i64) -> Option<(&'static str, String)> {
        Some(("!serverShutdown", format!(r#"{{"e":"serverShutdown","E":{now_ms}}}"#)))
    }

    fn rest_call(&self, request: &RestRequest) -> RestCall {
        rest::call(self.flavor, request)
    }

    fn rest_answer(&self, request: &RestRequest, source: &dyn Source) -> RestAnswer {
        rest::answer(self.flavor, request, source)
    }

    fn rest_refusal(&self, status: u16, until_ms: i64) -> String {
        rest::refusal(self.flavor, status, until_ms)
    }

    fn weight_header(&self) -> Option<&'static str> {
        Some("x-mbx-used-weight-1m")
    }

    fn owns_url(&self, url: &str) -> bool {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', ':']).next().unwrap_or("");
        let futures = host.starts_with("fstream.") || host.starts_with("fapi.");
        let binance = host.ends_with("binance.com") || host.ends_with("binance.vision");
        binance && futures == (self.flavor == Flavor::UsdM)
    }
}
