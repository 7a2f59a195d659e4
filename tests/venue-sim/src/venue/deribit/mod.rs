//! Deribit's perpetuals, dated futures, options and volatility indices, as of November 2026.
//!
//! Channels are `book|trades|ticker.{instrument}.{100ms|agg2}`, and one per volatility index.

mod control;
mod frames;
mod instruments;
mod rest;
mod rpc;

use std::sync::Arc;
use std::time::Duration;

use crate::decimal::Decimal;
use crate::ledger::{EventData, TradeKind, TradeRecord};
use crate::market::{Event, Instrument, MarketRules, Topic};
use crate::venue::{
    Content, ControlReply, Encoded, Limits, ListedInstrument, Opening, PerWindow, Profile, RestAnswer,
    RestCall, RestRequest, SessionView, Snapshot, Source, Stream, Venue,
};

const CHANNELS: [(&str, &str, Content); 6] = [
    ("book", "100ms", Content::Book(0)),
    ("book", "agg2", Content::Book(1)),
    ("trades", "100ms", Content::Trades(TradeKind::Trade)),
    ("trades", "agg2", Content::Trades(TradeKind::Trade)),
    ("ticker", "100ms", Content::Timed(Topic::Summary)),
    ("ticker", "agg2", Content::Timed(Topic::Summary)),
];

const PROFILE: Profile = Profile {
    exchange: "deribit_derivatives",
    // Liquidations show late, in trades. Few ticks lie between the price of an option and zero.
    rules: MarketRules { cadences_ms: &[0, 1000], topics: &[(Topic::Summary, 1000)], ..MarketRules::DEFAULT },
    limits: Limits {
        ping_every: None,
        pong_within: Duration::from_secs(30),
        age_max: None,
        idle_within: None,
        messages_per_second: usize::MAX,
        // Each costs 3000 of 30,000 credits, of which 10,000 return per second.
        requests: Some(PerWindow { max: 10, window: Duration::from_secs(3) }),
        streams_max: usize::MAX,
        connects: None,
        // Each costs 500 of 50,000 credits, of which 10,000 return per second.
        weight: PerWindow { max: 100, window: Duration::from_secs(5) },
        bans: None,
    },
    usual_trades: TradeKind::Trade,
    trades_per_frame: 100,
    past_minutes: 120,
    indices: &["btc_usd", "eth_usd"],
    weight_header: None,
    names_wait: true,
    restarts_sequence: false,
};

#[derive(Debug, Clone, Copy)]
pub struct Deribit;

impl Venue for Deribit {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn instrument(&self, symbol: &str, _now_ms: i64) -> Option<Instrument> {
        instruments::by_name(symbol)
    }

    fn default_symbols(&self, now_ms: i64) -> Vec<String> {
        instruments::default_symbols(now_ms)
    }

    fn streams(&self, instrument: &Instrument) -> Vec<Stream> {
        let symbol = &instrument.symbol;
        let stream = |(channel, interval, content)| Stream {
            name: format!("{channel}.{symbol}.{interval}").into(),
            content,
        };
        CHANNELS.map(stream).to_vec()
    }

    fn shared_streams(&self, _listed: &[ListedInstrument]) -> Vec<Arc<str>> {
        PROFILE.indices.iter().map(|index| frames::index_channel(index).into()).collect()
    }

    fn open(&self, path: &str, _query: &str) -> Option<Opening> {
        let opening = Opening { route: "api", combined: false, streams: Vec::new() };
        (path == "/ws/api/v2").then_some(opening)
    }

    fn on_message(&self, text: &str, view: SessionView<'_>) -> ControlReply {
        control::on_message(text, view)
    }

    fn heartbeat(&self) -> Vec<String> {
        let of = |kind| format!(r#"{{"jsonrpc":"2.0","method":"heartbeat","params":{{"type":"{kind}"}}}}"#);
        ["heartbeat", "test_request"].map(of).to_vec()
    }

    fn trade_frame(
        &self,
        listed: &ListedInstrument,
        _kind: TradeKind,
        stream: &str,
        records: &[TradeRecord],
    ) -> String {
        let rows: Vec<String> = records.iter().map(|record| frames::trade(listed, record, None)).collect();
        frames::frame(stream, &format!("[{}]", rows.join(",")))
    }

    fn event_frame(&self, listed: &ListedInstrument, stream: &str, event: &Event) -> String {
        match event {
            Event::Depth(update) => frames::change(&listed.instrument, stream, update),
            Event::Reference(_, r) => {
                frames::frame(stream, &frames::ticker(&listed.instrument, &frames::printed(r)))
            }
            _ => String::new(),
        }
    }

    fn event_data(&self, listed: &ListedInstrument, event: &Event) -> Vec<EventData> {
        match event {
            Event::Reference(_, r) => frames::ticker_data(&listed.instrument, &frames::printed(r)),
            _ => Vec::new(),
        }
    }

    fn snapshot_frame(&self, listed: &ListedInstrument, stream: &str, snapshot: &Snapshot) -> Option<String> {
        Some(frames::snapshot(&listed.instrument, stream, snapshot))
    }

    fn index_frame(&self, index: &str, time_ms: i64, value: Decimal) -> Option<Encoded> {
        frames::index(index, time_ms, value)
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
