//! Kraken spot, sockets of version 2, as of November 2026.
//!
//! Streams are named `book:{symbol}:{depth}` and `trade:{symbol}`. Books have no numbers: the time of an update in microseconds is its id.

mod control;
mod frames;
mod instruments;
mod rest;

use std::time::Duration;

use crate::clock;
use crate::ledger::{EventData, TradeKind, TradeRecord};
use crate::market::{Event, Instrument, MarketRules, UpdateIds};
use crate::venue::{
    Content, ControlReply, Limits, ListedInstrument, Opening, PerWindow, Profile, RestAnswer, RestCall,
    RestRequest, SessionView, Snapshot, Source, Stream, Venue,
};

/// Levels a side of the book channel.
const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1000];

const PROFILE: Profile = Profile {
    exchange: "kraken_spot",
    rules: MarketRules {
        update_ids: UpdateIds::Micros,
        cadences_ms: &[0; DEPTHS.len()],
        depths: &DEPTHS,
        // Books are deeper than the deepest channel shows.
        depth_min: 1050,
        ..MarketRules::DEFAULT
    },
    limits: Limits {
        ping_every: None,
        pong_within: Duration::from_secs(30),
        age_max: None,
        idle_within: Some(Duration::from_mins(1)),
        messages_per_second: usize::MAX,
        // The venue's limit adapts to its load; it gives no figure.
        requests: Some(PerWindow { max: 30, window: Duration::from_secs(10) }),
        streams_max: usize::MAX,
        connects: Some(PerWindow { max: 150, window: Duration::from_mins(10) }),
        // About one a second.
        weight: PerWindow { max: 60, window: Duration::from_mins(1) },
        bans: None,
    },
    usual_trades: TradeKind::Trade,
    trades_per_frame: 50,
    past_minutes: 0,
    indices: &[],
    weight_header: None,
    restarts_sequence: false,
    names_wait: false,
};

#[derive(Debug, Clone, Copy)]
pub struct Kraken;

impl Venue for Kraken {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn instrument(&self, symbol: &str, _now_ms: i64) -> Option<Instrument> {
        instruments::by_name(symbol)
    }

    fn default_symbols(&self, _now_ms: i64) -> Vec<String> {
        instruments::DEFAULT.map(str::to_owned).to_vec()
    }

    fn streams(&self, instrument: &Instrument) -> Vec<Stream> {
        let symbol = &instrument.symbol;
        let book = |(cadence, depth): (usize, usize)| Stream {
            name: format!("book:{symbol}:{depth}").into(),
            content: Content::Book(cadence),
        };
        let trades =
            Stream { name: format!("trade:{symbol}").into(), content: Content::Trades(TradeKind::Trade) };
        DEPTHS.into_iter().enumerate().map(book).chain([trades]).collect()
    }

    fn open(&self, path: &str, _query: &str) -> Option<Opening> {
        let opening = Opening { route: "v2", combined: false, streams: Vec::new() };
        (path == "/v2").then_some(opening)
    }

    fn greeting(&self, connection: u64) -> Option<String> {
        Some(frames::status(connection, "online"))
    }

    fn beat_every(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }

    fn heartbeat(&self) -> Vec<String> {
        vec![r#"{"channel":"heartbeat"}"#.to_owned()]
    }

    fn shutdown_notice(&self, _now_ms: i64) -> Option<(&'static str, String)> {
        Some(("", frames::status(1, "maintenance")))
    }

    fn on_message(&self, text: &str, view: SessionView<'_>) -> ControlReply {
        control::on_message(text, view, &clock::rfc3339(clock::now_ms() * 1000))
    }

    fn trade_frame(
        &self,
        listed: &ListedInstrument,
        _kind: TradeKind,
        _stream: &str,
        records: &[TradeRecord],
    ) -> String {
        frames::trades("update", &listed.instrument, records)
    }

    fn trade_snapshot(&self, listed: &ListedInstrument, records: &[TradeRecord]) -> Option<String> {
        Some(frames::trades("snapshot", &listed.instrument, records))
    }

    fn event_frame(&self, listed: &ListedInstrument, _stream: &str, event: &Event) -> String {
        match event {
            Event::Depth(update) => frames::update(&listed.instrument, update),
            _ => String::new(),
        }
    }

    fn event_data(&self, _listed: &ListedInstrument, _event: &Event) -> Vec<EventData> {
        Vec::new()
    }

    fn snapshot_frame(
        &self,
        listed: &ListedInstrument,
        _stream: &str,
        snapshot: &Snapshot,
    ) -> Option<String> {
        Some(frames::snapshot(&listed.instrument, snapshot))
    }

    /// Nothing shows the loss of an update of levels behind the ten of the checksum.
    fn breaks_when_lost(&self, event: &Event) -> bool {
        matches!(event, Event::Depth(update) if frames::is_verified(update))
    }

    fn rest_call(&self, request: &RestRequest) -> RestCall {
        RestCall { weight: 1, pool: None, snapshot: false, symbol: request.get("pair").map(str::to_owned) }
    }

    fn rest_answer(&self, request: &RestRequest, source: &dyn Source) -> RestAnswer {
        rest::answer(request, source)
    }

    fn rest_refusal(&self, status: u16, _until_ms: i64) -> String {
        rest::error(if status == 418 { "EGeneral:Temporary lockout" } else { "EGeneral:Too many requests" })
    }

    /// The venue refuses with the status of a good answer.
    fn refusal(&self, status: u16, until_ms: i64) -> (u16, String) {
        match status {
            418 | 429 => (200, self.rest_refusal(status, until_ms)),
            503 => (200, rest::error("EService:Unavailable")),
            other => (other, "<html>error</html>".to_owned()),
        }
    }

    fn owns_url(&self, url: &str) -> bool {
        url.contains("kraken.com")
    }
}
