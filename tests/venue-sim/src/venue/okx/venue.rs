//! The two exchanges as one implementation with a switch.

use std::sync::Arc;
use std::time::Duration;

use super::{control, encode, instruments, rest, streams};
use crate::ledger::{TradeKind, TradeRecord};
use crate::market::{Event, Instrument, MarketRules, Topic, UpdateIds};
use crate::venue::{
    Control, Encoded, Limits, Listed, Newest, Opening, PerWindow, RestAnswer, RestCall, RestRequest,
    SessionView, Snapshot, Source, Venue,
};

/// OKX spot, or its swaps, futures and options.
#[derive(Debug, Clone, Copy)]
pub struct Okx {
    spot: bool,
}

impl Okx {
    /// Spot.
    #[must_use]
    pub fn spot() -> Okx {
        Okx { spot: true }
    }

    /// Swaps, futures, options.
    #[must_use]
    pub fn derivatives() -> Okx {
        Okx { spot: false }
    }
}

impl Venue for Okx {
    fn exchange(&self) -> &'static str {
        if self.spot { "okx_spot" } else { "okx_derivatives" }
    }

    fn rules(&self) -> MarketRules {
        MarketRules {
            update_ids: UpdateIds::Leaping,
            cadences_ms: &[0],
            topics: if self.spot {
                &[]
            } else {
                &[
                    (Topic::Funding, 30_000),
                    (Topic::Interest, 3000),
                    (Topic::Mark(0), 1000),
                    (Topic::Liquidation, 1000),
                ]
            },
            liquidations_max: if self.spot { 0 } else { 3 },
            still_book_ms: Some(60_000),
            announces_unknown: false,
            funding_scale: 16,
            interest_ms: 3000,
            ratio_ms: 300_000,
            history_changes: 200_000,
            // The channel shows 400 levels: the whole book must stay within them.
            depth_min: 100,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            ping_every: None,
            pong_within: Duration::from_secs(60),
            age_max: None,
            idle_within: Some(Duration::from_secs(30)),
            messages_per_second: usize::MAX,
            requests: Some(PerWindow { max: 480, window: Duration::from_secs(3600) }),
            streams_max: usize::MAX,
            connects: Some(PerWindow { max: 3, window: Duration::from_secs(1) }),
            // Every endpoint has a pool of its own.
            weight: PerWindow { max: u32::MAX, window: Duration::from_secs(2) },
            bans: false,
        }
    }

    fn instruments(&self, symbols: &[String], now_ms: i64) -> Vec<Instrument> {
        instruments::listed(self.spot, symbols, now_ms)
    }

    fn streams(&self, instrument: &Instrument) -> Vec<Arc<str>> {
        streams::names(instrument)
    }

    fn shared_streams(&self, listed: &[Listed]) -> Vec<Arc<str>> {
        streams::shared(listed)
    }

    fn trade_streams<'a>(&self, listed: &'a Listed, kind: TradeKind) -> &'a [Arc<str>] {
        match kind {
            // Every match is on another endpoint.
            TradeKind::Trade => &[],
            TradeKind::Aggregate => streams::slice(listed, "trades"),
        }
    }

    fn depth_streams<'a>(&self, listed: &'a Listed, _cadence: usize) -> &'a [Arc<str>] {
        streams::slice(listed, "books")
    }

    fn usual_trades(&self) -> TradeKind {
        TradeKind::Aggregate
    }

    fn trades_per_frame(&self) -> usize {
        16
    }

    fn trade_id(&self, record: &TradeRecord) -> String {
        record.matches.1.to_string()
    }

    fn open(&self, path: &str, _query: &str) -> Option<Opening> {
        let opening = Opening { route: "public", combined: false, streams: Vec::new() };
        (path == "/ws/v5/public").then_some(opening)
    }

    fn on_message(&self, text: &str, view: SessionView<'_>) -> Control {
        control::on_message(text, view)
    }

    fn encode_trades(
        &self,
        listed: &Listed,
        _kind: TradeKind,
        _stream: &str,
        records: &[TradeRecord],
    ) -> String {
        encode::trades(&listed.instrument, records)
    }

    fn encode(&self, listed: &Listed, event: &Event, wants: &dyn Fn(&str) -> bool) -> Vec<Encoded> {
        encode::event(listed, event, wants)
    }

    fn encode_snapshot(&self, listed: &Listed, _stream: &str, snapshot: &Snapshot) -> Option<String> {
        Some(encode::snapshot(&listed.instrument, snapshot))
    }

    fn first_frame(
        &self,
        stream: &str,
        listed: &[Listed],
        newest: &Newest<'_>,
    ) -> Option<(String, Vec<u64>)> {
        let (channel, kind) = stream.split_once(':')?;
        if channel != streams::LIQUIDATIONS {
            return None;
        }
        encode::recent_liquidations(kind, listed, newest)
    }

    fn shutdown_notice(&self, _now_ms: i64) -> Option<(&'static str, String)> {
        let text = "The connection will soon be closed for a service upgrade. Please reconnect.";
        Some(("", format!(r#"{{"event":"notice","code":"64008","msg":"{text}","connId":"a4d3ae55"}}"#)))
    }

    fn restarts_sequence(&self) -> bool {
        true
    }

    fn rest_call(&self, request: &RestRequest) -> RestCall {
        rest::call(request)
    }

    fn rest_answer(&self, request: &RestRequest, source: &dyn Source) -> RestAnswer {
        rest::answer(request, source)
    }

    fn rest_refusal(&self, _status: u16, _until_ms: i64) -> String {
        rest::error("50011", "Too Many Requests").body
    }

    fn owns_url(&self, url: &str) -> bool {
        url.contains("okx.com") && url.contains("instType=SPOT") == self.spot
    }
}
