//! Bybit v5: spot, and linear contracts in USDT and USDC, as of November 2026.
//!
//! Topics are `kind.SYMBOL`, books `orderbook.LEVELS.SYMBOL`; those that no adapter takes (levels 1 and 1000, klines) are unknown here.

mod control;
mod frames;
mod instruments;
mod rest;

use std::time::Duration;

use crate::ledger::{EventData, TradeKind, TradeRecord};
use crate::market::{Contract, Event, Instrument, MarketRules, Topic, UpdateIds};
use crate::venue::{
    BanRules, Content, ControlReply, Limits, ListedInstrument, Opening, PerWindow, Profile, RestAnswer,
    RestCall, RestRequest, SessionView, Snapshot, Source, Stream, Venue,
};

const TOPICS: [(&str, Content); 7] = [
    ("publicTrade", Content::Trades(TradeKind::Trade)),
    ("orderbook.50", Content::Book(0)),
    ("orderbook.200", Content::Book(1)),
    ("allLiquidation", Content::Timed(Topic::Liquidation)),
    ("tickers", Content::Timed(Topic::Funding)),
    ("tickers", Content::Timed(Topic::Interest)),
    ("tickers", Content::Timed(Topic::Mark(0))),
];
/// Topics of spot, the first ones. Its tickers, without anything that is collected, are left out.
const SPOT_TOPICS: usize = 3;

const SPOT: Profile = Profile {
    exchange: "bybit_spot",
    rules: MarketRules {
        update_ids: UpdateIds::PerUpdate,
        // The venue sends 50 levels every 20 ms.
        cadences_ms: &[0, 200],
        depths: &[50, 200],
        // It is not documented that levels pushed out are removed: one market does, the other not.
        evicts: true,
        depth_min: 210,
        ..MarketRules::DEFAULT
    },
    limits: Limits {
        ping_every: None,
        pong_within: Duration::from_mins(1),
        age_max: None,
        idle_within: None,
        messages_per_second: usize::MAX,
        requests: None,
        streams_max: usize::MAX,
        connects: Some(PerWindow { max: 500, window: Duration::from_mins(5) }),
        weight: PerWindow { max: 600, window: Duration::from_secs(5) },
        bans: Some(BanRules { ignored_max: 0, ban: Duration::from_mins(10) }),
    },
    usual_trades: TradeKind::Trade,
    trades_per_frame: 1024,
    past_minutes: 0,
    indices: &[],
    weight_header: None,
    names_wait: false,
    restarts_sequence: true,
};

const DERIVATIVES: Profile = Profile {
    exchange: "bybit_derivatives",
    rules: MarketRules {
        cadences_ms: &[0, 100],
        evicts: false,
        topics: &[
            (Topic::Mark(0), 100),
            (Topic::Funding, 30_000),
            (Topic::Interest, 3000),
            (Topic::Liquidation, 500),
        ],
        liquidations_max: 3,
        ..SPOT.rules
    },
    ..SPOT
};

#[derive(Debug, Clone, Copy)]
pub struct Bybit {
    pub spot: bool,
}

impl Venue for Bybit {
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
        let count = if instrument.contract == Contract::Spot { SPOT_TOPICS } else { TOPICS.len() };
        let symbol = &instrument.symbol;
        let stream = |(kind, content)| Stream { name: format!("{kind}.{symbol}").into(), content };
        TOPICS.into_iter().take(count).map(stream).collect()
    }

    /// Ids are numbers on spot, elsewhere UUIDs.
    fn trade_id(&self, record: &TradeRecord) -> String {
        if self.spot { record.id.to_string() } else { frames::uuid(record.id) }
    }

    fn open(&self, path: &str, _query: &str) -> Option<Opening> {
        let route = if self.spot { "spot" } else { "linear" };
        let opening = Opening { route, combined: false, streams: Vec::new() };
        (path.strip_prefix("/v5/public/") == Some(route)).then_some(opening)
    }

    fn on_message(&self, text: &str, view: SessionView<'_>) -> ControlReply {
        control::on_message(self.spot, text, view)
    }

    fn trade_frame(
        &self,
        listed: &ListedInstrument,
        _kind: TradeKind,
        stream: &str,
        records: &[TradeRecord],
    ) -> String {
        frames::trades(&listed.instrument, stream, records, |record| self.trade_id(record))
    }

    fn event_frame(&self, listed: &ListedInstrument, stream: &str, event: &Event) -> String {
        frames::frame(&listed.instrument, stream, event)
    }

    fn event_data(&self, listed: &ListedInstrument, event: &Event) -> Vec<EventData> {
        frames::event_data(&listed.instrument, event)
    }

    fn snapshot_frame(&self, listed: &ListedInstrument, stream: &str, snapshot: &Snapshot) -> Option<String> {
        Some(frames::snapshot(&listed.instrument, stream, snapshot))
    }

    fn first_topic(&self, content: Content) -> Option<Topic> {
        matches!(content, Content::Timed(Topic::Funding | Topic::Interest | Topic::Mark(_)))
            .then_some(Topic::Summary)
    }

    fn rest_call(&self, request: &RestRequest) -> RestCall {
        RestCall { weight: 1, pool: None, snapshot: false, symbol: request.get("symbol").map(str::to_owned) }
    }

    fn rest_answer(&self, request: &RestRequest, source: &dyn Source) -> RestAnswer {
        rest::answer(self.spot, request, source).unwrap_or_else(|refusal| refusal)
    }

    fn rest_refusal(&self, _status: u16, _until_ms: i64) -> String {
        r#"{"retCode":10018,"retMsg":"access too frequent","result":{},"retExtInfo":{}}"#.to_owned()
    }

    /// The venue shuts out with 403 and names no time.
    fn refusal(&self, status: u16, until_ms: i64) -> (u16, String) {
        let status = if matches!(status, 418 | 429) { 403 } else { status };
        (status, self.rest_refusal(status, until_ms))
    }

    fn rest_error(&self, code: u16) -> Option<RestAnswer> {
        let text = match code {
            10006 => "Too many visits!",
            10016 => "Server error. Service is restarting",
            _ => "on command",
        };
        Some(rest::error(code, text))
    }
}
