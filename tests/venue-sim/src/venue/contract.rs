//! The interface between the simulator and a venue's protocol. Implementations are pure: no sockets, no locks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::decimal::Decimal;
use crate::ledger::{DataType, EventData, EventRecord, TradeKind, TradeRecord};
use crate::market::{Event, Instrument, MarketRules, Ratio, RatioKind, Reference, Topic};

/// The content of a stream of one instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Trades(TradeKind),
    Book(usize),
    Ticker,
    Timed(Topic),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    pub name: Arc<str>,
    pub content: Content,
}

/// An instrument with the streams that carry it.
#[derive(Debug, Clone)]
pub struct ListedInstrument {
    /// Position of the symbol in its exchange.
    pub index: usize,
    pub instrument: Instrument,
    pub streams: Vec<Stream>,
}

impl ListedInstrument {
    pub fn streams_with(&self, content: Content) -> impl Iterator<Item = &Arc<str>> {
        self.streams.iter().filter(move |stream| stream.content == content).map(|stream| &stream.name)
    }
}

/// At most `max` in any window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerWindow {
    pub max: u32,
    pub window: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BanRules {
    /// Requests that an address may send after its first 429 before the ban.
    pub ignored_max: u32,
    pub ban: Duration,
}

/// Limits and periods; `None` where the venue has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Period of the server's ping frames.
    pub ping_every: Option<Duration>,
    /// Time to answer a ping or a heartbeat test before the connection is closed.
    pub pong_within: Duration,
    /// Age at which a connection is closed.
    pub age_max: Option<Duration>,
    /// A connection without traffic in either direction is closed after this time.
    pub idle_within: Option<Duration>,
    /// Client messages (text, ping, pong) per second.
    pub messages_per_second: usize,
    /// Requests to subscribe or unsubscribe, per connection.
    pub requests: Option<PerWindow>,
    /// Streams per connection.
    pub streams_max: usize,
    /// New connections per address.
    pub connects: Option<PerWindow>,
    /// REST weight per address.
    pub weight: PerWindow,
    /// Clients that ignore a 429 are banned (418).
    pub bans: Option<BanRules>,
}

/// The fixed properties of an exchange.
#[derive(Debug)]
pub struct Profile {
    /// Exchange id, also the first segment of its addresses.
    pub exchange: &'static str,
    pub rules: MarketRules,
    pub limits: Limits,
    /// The kind of trades that the exchange's adapter takes.
    pub usual_trades: TradeKind,
    pub trades_per_frame: usize,
    /// Minutes of trades before the start of the simulator that REST answers include.
    pub past_minutes: u32,
    pub indices: &'static [&'static str],
    /// Header with the used REST weight.
    pub weight_header: Option<&'static str>,
    /// Refusals for weight say how long to wait.
    pub names_wait: bool,
    /// Update numbers of a book may start again from a smaller one.
    pub restarts_sequence: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// See [`Venue::carries`].
    pub route: &'static str,
    /// Frames are wrapped with their stream's name.
    pub combined: bool,
    pub streams: Vec<String>,
}

/// State of a session that a control message may refer to.
#[derive(Clone, Copy)]
pub struct SessionView<'a> {
    pub connection: u64,
    pub stream_exists: &'a dyn Fn(&str) -> bool,
    /// The connection has used up its requests to subscribe or unsubscribe.
    pub exhausted: bool,
    /// All streams that the client asked for, existing or not.
    pub subscriptions: &'a BTreeSet<String>,
    pub combined: bool,
    pub streams_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlAction {
    Nothing,
    Subscribe(Vec<String>),
    /// Without the trades of before.
    SubscribeFromNow(Vec<String>),
    Unsubscribe(Vec<String>),
    /// Wrap frames with their stream's name, or not.
    Combined(bool),
    /// Send heartbeat tests at this period; close the connection when one stays unanswered.
    Heartbeat(Duration),
    HeartbeatAnswered,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlReply {
    /// Sent before any data that the action causes.
    pub texts: Vec<String>,
    pub action: ControlAction,
    /// Counts as a request to subscribe or unsubscribe.
    pub counts: bool,
}

impl ControlReply {
    pub fn new(text: String, action: ControlAction) -> Self {
        Self { texts: vec![text], action, counts: false }
    }
}

/// A REST request without the exchange's prefix; query parameters decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestRequest {
    pub path: String,
    pub query: Vec<(String, String)>,
}

impl RestRequest {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A number; `None` when the parameter is no number.
    pub fn limit(&self, name: &str, default: usize) -> Option<usize> {
        self.get(name).map_or(Some(default), |text| text.parse().ok())
    }
}

/// Cost and subject of a REST request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestCall {
    pub weight: u32,
    /// A pool besides the exchange's weight: name and size.
    pub pool: Option<(String, PerWindow)>,
    /// The answer is a book snapshot.
    pub snapshot: bool,
    pub symbol: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestAnswer {
    pub status: u16,
    pub body: String,
    /// Events in the answer, for the ledger.
    pub events: Vec<EventData>,
}

impl RestAnswer {
    pub fn new(status: u16, body: impl Into<String>) -> RestAnswer {
        RestAnswer { status, body: body.into(), events: Vec::new() }
    }
}

/// Frames of one event: stream and text, and what each of them reports, for the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    pub events: Vec<EventData>,
    pub frames: Vec<(Arc<str>, String)>,
}

/// A book as a snapshot shows it, in ticks and steps, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub last_update_id: u64,
    /// The newest change; comparable between depths.
    pub change_id: u64,
    pub bids: Vec<(i64, i64)>,
    pub asks: Vec<(i64, i64)>,
    /// Time of the last change, ms.
    pub engine_ms: i64,
}

/// The newest events of a type whose symbol matches, up to a limit, oldest first.
pub type Newest<'a> = dyn Fn(DataType, &dyn Fn(&str) -> bool, usize) -> Vec<EventRecord> + 'a;

/// Data behind a venue's REST answers.
pub trait Source {
    fn listed(&self) -> &[ListedInstrument];
    fn find(&self, symbol: &str) -> Option<&ListedInstrument>;
    /// Turnover of the last 24 hours in quote units.
    fn turnover(&self, symbol: usize) -> u64;
    fn now_ms(&self) -> i64;
    /// The current book, or an outdated one where a fault asks for it.
    fn snapshot(&self, symbol: usize, depth: usize) -> Option<Snapshot>;
    /// Mark price, funding and open interest at the start of the current period.
    fn reference(&self, symbol: usize) -> Option<Reference>;
    /// The newest rows of a ratio, oldest first.
    fn ratios(&self, symbol: usize, kind: RatioKind, limit: usize) -> Vec<Ratio>;
    /// The newest trades, oldest first.
    fn newest_trades(&self, symbol: usize, kind: TradeKind, limit: usize) -> Vec<TradeRecord>;
    fn trades_from(&self, symbol: usize, kind: TradeKind, from_id: u64, limit: usize) -> Vec<TradeRecord>;
    /// All known trades between two times, inclusive, in order; with those from before the start.
    fn trades_between(&self, symbol: usize, kind: TradeKind, from_ms: i64, to_ms: i64) -> Vec<TradeRecord>;
    /// Age from which a trade shows that it was a liquidation.
    fn liquidation_delay_ms(&self) -> i64;
}

pub trait Venue: Send + Sync {
    fn profile(&self) -> &'static Profile;

    fn exchange(&self) -> &'static str {
        self.profile().exchange
    }

    /// `None` for a symbol not of this venue's form.
    fn instrument(&self, symbol: &str, now_ms: i64) -> Option<Instrument>;

    /// Symbols that are listed when none is configured.
    fn default_symbols(&self, now_ms: i64) -> Vec<String>;

    fn streams(&self, instrument: &Instrument) -> Vec<Stream>;

    /// Names of streams that carry several instruments, or none.
    fn shared_streams(&self, _listed: &[ListedInstrument]) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// The shared stream that carries an instrument's liquidations.
    fn liquidation_stream(&self, _instrument: &Instrument) -> Option<String> {
        None
    }

    /// A trade's id on the wire.
    fn trade_id(&self, record: &TradeRecord) -> String {
        record.id.to_string()
    }

    /// `None` when the path has no WebSocket.
    fn open(&self, path: &str, query: &str) -> Option<Opening>;

    /// False for a stream that stays silent on this route.
    fn carries(&self, _route: &str, _stream: &str) -> bool {
        true
    }

    fn on_message(&self, text: &str, view: SessionView<'_>) -> ControlReply;

    /// First message of a connection.
    fn greeting(&self, _connection: u64) -> Option<String> {
        None
    }

    /// Period of heartbeats that need no answer, from the first subscription on.
    fn beat_every(&self) -> Option<Duration> {
        None
    }

    /// Messages of one heartbeat; the client must answer the last of them, unless there is [`Venue::beat_every`].
    fn heartbeat(&self) -> Vec<String> {
        Vec::new()
    }

    fn trade_frame(
        &self,
        listed: &ListedInstrument,
        kind: TradeKind,
        stream: &str,
        records: &[TradeRecord],
    ) -> String;

    /// First frame for a new subscriber of trades, made of the newest ones.
    fn trade_snapshot(&self, _listed: &ListedInstrument, _records: &[TradeRecord]) -> Option<String> {
        None
    }

    /// The frame of an event other than a trade.
    fn event_frame(&self, listed: &ListedInstrument, stream: &str, event: &Event) -> String;

    /// Content of an event's frames, for the ledger.
    fn event_data(&self, listed: &ListedInstrument, event: &Event) -> Vec<EventData>;

    /// Frames of an event for the streams with subscribers.
    fn encode(
        &self,
        listed: &ListedInstrument,
        event: &Event,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Vec<Encoded> {
        encode_event(self, listed, event, wanted)
    }

    /// A client can notice the loss of an event's frame in its book.
    fn breaks_when_lost(&self, event: &Event) -> bool {
        matches!(event, Event::Depth(_))
    }

    /// First frame for a new subscriber of a book.
    fn snapshot_frame(
        &self,
        _listed: &ListedInstrument,
        _stream: &str,
        _snapshot: &Snapshot,
    ) -> Option<String> {
        None
    }

    /// Values that a new subscriber gets at once; `None`: it waits for the next ones.
    fn first_topic(&self, _content: Content) -> Option<Topic> {
        None
    }

    /// The frame of a volatility index.
    fn index_frame(&self, _index: &str, _time_ms: i64, _value: Decimal) -> Option<Encoded> {
        None
    }

    /// First frame for a new subscriber of a shared stream, made of the newest events, with their numbers.
    fn first_frame(
        &self,
        _stream: &str,
        _listed: &[ListedInstrument],
        _newest: &Newest<'_>,
    ) -> Option<(String, Vec<u64>)> {
        None
    }

    /// Wraps a frame with its stream's name.
    fn wrap(&self, _stream: &str, raw: &str) -> String {
        raw.to_owned()
    }

    /// Announces the end of a connection: stream name and frame.
    fn shutdown_notice(&self, _now_ms: i64) -> Option<(&'static str, String)> {
        None
    }

    fn rest_call(&self, request: &RestRequest) -> RestCall;

    fn rest_answer(&self, request: &RestRequest, source: &dyn Source) -> RestAnswer;

    /// Body of a 429 or 418.
    fn rest_refusal(&self, status: u16, until_ms: i64) -> String;

    /// HTTP status and body of a request refused with `status`.
    fn refusal(&self, status: u16, until_ms: i64) -> (u16, String) {
        let body = match status {
            418 | 429 => self.rest_refusal(status, until_ms),
            _ => format!(r#"{{"code":-1000,"msg":"status {status} on command"}}"#),
        };
        (status, body)
    }

    /// The venue's own error with this code; `None` where it has none.
    fn rest_error(&self, _code: u16) -> Option<RestAnswer> {
        None
    }

    /// True for recorded addresses of this exchange.
    fn owns_url(&self, _url: &str) -> bool {
        false
    }
}

/// The usual way to encode: one frame per stream of the event's content.
pub fn encode_event<V: Venue + ?Sized>(
    venue: &V,
    listed: &ListedInstrument,
    event: &Event,
    wanted: &dyn Fn(&str) -> bool,
) -> Vec<Encoded> {
    let content = match event {
        Event::Depth(update) => Content::Book(update.cadence),
        Event::Ticker(_) => Content::Ticker,
        Event::Reference(topic, _) => Content::Timed(*topic),
        Event::Liquidations(_) => Content::Timed(Topic::Liquidation),
        Event::Trade(_) | Event::Aggregate(_) => return Vec::new(),
    };
    let is_liquidation = matches!(event, Event::Liquidations(_));
    let shared = venue.liquidation_stream(&listed.instrument).filter(|_| is_liquidation);
    let streams = listed.streams_with(content).cloned().chain(shared.map(Arc::from));
    let frames: Vec<_> = streams
        .filter(|stream| wanted(stream))
        .map(|stream| (stream.clone(), venue.event_frame(listed, &stream, event)))
        .collect();
    if frames.is_empty() {
        return Vec::new();
    }
    vec![Encoded { events: venue.event_data(listed, event), frames }]
}
