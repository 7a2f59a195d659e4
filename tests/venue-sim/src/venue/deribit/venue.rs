//! The exchange as one implementation.

use std::sync::Arc;
use std::time::Duration;

use super::{control, encode, instruments, rest, rpc, streams};
use crate::decimal::Decimal;
use crate::ledger::{TradeKind, TradeRecord};
use crate::market::{Event, Instrument, MarketRules, Topic, UpdateIds};
use crate::venue::{
    Control, Encoded, Limits, Listed, Opening, PerWindow, RestAnswer, RestCall, RestRequest, SessionView,
    Snapshot, Source, Venue,
};

/// Deribit's futures and options.
#[derive(Debug, Clone, Copy)]
pub struct Deribit;

impl Venue for Deribit {
    fn exchange(&self) -> &'static str {
        "deribit_derivatives"
    }

    fn rules(&self) -> MarketRules {
        MarketRules {
            update_ids: UpdateIds::Leaping,
            cadences_ms: &[0, 1000],
            topics: &[(Topic::Summary, 1000)],
            // Told late, with the trade.
            liquidations_max: 0,
            still_book_ms: None,
            announces_unknown: false,
            funding_scale: 8,
            interest_ms: 1000,
            ratio_ms: 300_000,
            history_changes: 200_000,
            // Few ticks lie between the price of an option and nothing.
            depth_min: 100,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            ping_every: None,
            pong_within: Duration::from_secs(30),
            age_max: None,
            idle_within: None,
            messages_per_second: usize::MAX,
            // Each costs 3000 of 30,000 credits, of which 10,000 come back in a second.
            requests: Some(PerWindow { max: 10, window: Duration::from_secs(3) }),
            streams_max: usize::MAX,
            connects: None,
            // Each costs 500 of 50,000 credits, of which 10,000 come back in a second.
            weight: PerWindow { max: 100, window: Duration::from_secs(5) },
            bans: false,
        }
    }

    fn instruments(&self, symbols: &[String], now_ms: i64) -> Vec<Instrument> {
        instruments::listed(symbols, now_ms)
    }

    fn streams(&self, instrument: &Instrument) -> Vec<Arc<str>> {
        streams::names(instrument)
    }

    fn shared_streams(&self, _listed: &[Listed]) -> Vec<Arc<str>> {
        streams::INDICES.iter().map(|name| Arc::from(streams::index(name))).collect()
    }

    fn indices(&self) -> &'static [&'static str] {
        &streams::INDICES
    }

    fn trade_streams<'a>(&self, listed: &'a Listed, kind: TradeKind) -> &'a [Arc<str>] {
        match kind {
            TradeKind::Trade => streams::of(listed, "trades"),
            TradeKind::Aggregate => &[],
        }
    }

    fn depth_streams<'a>(&self, listed: &'a Listed, cadence: usize) -> &'a [Arc<str>] {
        streams::of(listed, "book").get(cadence..=cadence).unwrap_or_default()
    }

    fn usual_trades(&self) -> TradeKind {
        TradeKind::Trade
    }

    fn trades_per_frame(&self) -> usize {
        100
    }

    fn past_minutes(&self) -> u32 {
        120
    }

    fn open(&self, path: &str, _query: &str) -> Option<Opening> {
        let opening = Opening { route: "api", combined: false, streams: Vec::new() };
        (path == "/ws/api/v2").then_some(opening)
    }

    fn on_message(&self, text: &str, view: SessionView<'_>) -> Control {
        control::on_message(text, view)
    }

    fn heartbeat(&self) -> Vec<String> {
        let of = |kind| format!(r#"{{"jsonrpc":"2.0","method":"heartbeat","params":{{"type":"{kind}"}}}}"#);
        ["heartbeat", "test_request"].map(of).to_vec()
    }

    fn encode_trades(
        &self,
        listed: &Listed,
        _kind: TradeKind,
        stream: &str,
        records: &[TradeRecord],
    ) -> String {
        encode::trades(listed, stream, records)
    }

    fn encode(&self, listed: &Listed, event: &Event, wants: &dyn Fn(&str) -> bool) -> Vec<Encoded> {
        encode::event(listed, event, wants)
    }

    fn encode_snapshot(&self, listed: &Listed, stream: &str, snapshot: &Snapshot) -> Option<String> {
        Some(encode::snapshot(&listed.instrument, stream, snapshot))
    }

    fn encode_index(&self, index: &str, time_ms: i64, value: Decimal) -> Option<Encoded> {
        encode::index(index, time_ms, value)
    }

    fn rest_call(&self, request: &RestRequest) -> RestCall {
        rest::call(request)
    }

    fn rest_answer(&self, request: &RestRequest, source: &dyn Source) -> RestAnswer {
        rest::answer(request, source)
    }

    fn rest_refusal(&self, _status: u16, until_ms: i64) -> String {
        rpc::error(None, until_ms, rpc::TOO_MANY)
    }
}
