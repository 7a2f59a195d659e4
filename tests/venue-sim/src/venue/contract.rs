//! The seam between the simulator and a venue.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::decimal::Decimal;
use crate::ledger::{DataType, EventRecord, Told, TradeKind, TradeRecord};
use crate::market::{Event, Instrument, MarketRules, Ratio, RatioKind, Reference};

/// An instrument with the names of its streams, in an order the venue knows.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Index of the symbol in its exchange.
    pub index: usize,
    /// What is traded.
    pub instrument: Instrument,
    /// Names of every stream that carries it.
    pub streams: Vec<Arc<str>>,
}

/// At most this many in any window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerWindow {
    /// How many.
    pub max: u32,
    /// Length of the window.
    pub window: Duration,
}

/// A venue's limits and periods. What a venue does not have is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Period of the server's ping frames.
    pub ping_every: Option<Duration>,
    /// The connection is closed when a ping or a test of its heartbeat stays unanswered this long.
    pub pong_within: Duration,
    /// The connection is closed at this age.
    pub age_max: Option<Duration>,
    /// The connection is closed when nothing went either way for this long.
    pub idle_within: Option<Duration>,
    /// Messages (text, ping, pong) a client may send in a second.
    pub messages_per_second: usize,
    /// Requests to subscribe or unsubscribe, per connection.
    pub requests: Option<PerWindow>,
    /// Streams per connection.
    pub streams_max: usize,
    /// New connections per address.
    pub connects: Option<PerWindow>,
    /// REST weight per address, of the venue's usual pool.
    pub weight: PerWindow,
    /// Whether ignoring a refusal leads to a ban (418).
    pub bans: bool,
}

/// A websocket request the venue accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Name of the route, for [`Venue::carries`].
    pub route: &'static str,
    /// Whether frames are wrapped with their stream's name.
    pub combined: bool,
    /// Streams named in the address.
    pub streams: Vec<String>,
}

/// What a client's control message may ask about.
#[derive(Clone, Copy)]
pub struct SessionView<'a> {
    /// Number of the connection.
    pub connection: u64,
    /// Whether a stream of this name exists.
    pub exists: &'a dyn Fn(&str) -> bool,
    /// Whether the connection has used up its requests to subscribe or unsubscribe.
    pub exhausted: bool,
    /// Streams the client asked for, known or not.
    pub subscriptions: &'a BTreeSet<String>,
    /// Whether frames are wrapped.
    pub combined: bool,
    /// Streams per connection.
    pub streams_max: usize,
}

/// What a control message changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlAction {
    /// Nothing.
    Nothing,
    /// Add streams.
    Subscribe(Vec<String>),
    /// Take streams away.
    Unsubscribe(Vec<String>),
    /// Wrap frames or not.
    Combined(bool),
    /// Test the client this often, and close the connection when it does not answer.
    Heartbeat(Duration),
    /// The client answered a test.
    Answered,
}

/// Answer to a control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Texts to send back, before anything that the change brings.
    pub replies: Vec<String>,
    /// What changes.
    pub action: ControlAction,
    /// Whether it counts as a request to subscribe or unsubscribe.
    pub counts: bool,
}

/// A REST request behind the exchange's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestRequest {
    /// Path, starting with `/`.
    pub path: String,
    /// Query parameters in their order, percent-decoding done.
    pub query: Vec<(String, String)>,
}

impl RestRequest {
    /// The first value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What a REST request costs and means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestCall {
    /// Weight it uses.
    pub weight: u32,
    /// The pool it draws on besides the venue's usual one: its name and its size.
    pub pool: Option<(String, PerWindow)>,
    /// Whether the answer is a book snapshot.
    pub snapshot: bool,
    /// The venue's symbol it asks about.
    pub symbol: Option<String>,
}

/// A REST answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestAnswer {
    /// HTTP status.
    pub status: u16,
    /// JSON text.
    pub body: String,
    /// What it tells, for the ledger.
    pub told: Vec<Told>,
}

impl RestAnswer {
    /// An answer that tells nothing of the ledger's kinds.
    #[must_use]
    pub fn new(status: u16, body: String) -> RestAnswer {
        RestAnswer { status, body, told: Vec::new() }
    }
}

/// The frames of one event, and what they tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// What every one of the frames tells, for the ledger.
    pub told: Vec<Told>,
    /// Stream and text.
    pub frames: Vec<(Arc<str>, String)>,
}

/// A book as a snapshot shows it, in ticks and steps, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Id of the last change in it.
    pub last_update_id: u64,
    /// Bids: price, quantity.
    pub bids: Vec<(i64, i64)>,
    /// Asks: price, quantity.
    pub asks: Vec<(i64, i64)>,
    /// When the last change was made.
    pub engine_ms: i64,
}

/// The newest events of a kind whose symbol fits, at most so many, oldest first.
pub type Newest<'a> = dyn Fn(DataType, &dyn Fn(&str) -> bool, usize) -> Vec<EventRecord> + 'a;

/// Where a venue's REST answers come from.
pub trait Source {
    /// All symbols.
    fn listed(&self) -> &[Listed];
    /// A symbol by its name.
    fn find(&self, symbol: &str) -> Option<&Listed>;
    /// Time of the answer, ms.
    fn now_ms(&self) -> i64;
    /// The book, as of now or of some changes ago.
    fn snapshot(&self, symbol: usize, depth: usize) -> Option<Snapshot>;
    /// Mark price, funding and open interest as of the newest period.
    fn reference(&self, symbol: usize) -> Option<Reference>;
    /// The newest rows of a ratio, oldest first.
    fn ratios(&self, symbol: usize, kind: RatioKind, limit: usize) -> Vec<Ratio>;
    /// The newest trades.
    fn newest_trades(&self, symbol: usize, kind: TradeKind, limit: usize) -> Vec<TradeRecord>;
    /// Trades from an id on.
    fn trades_from(&self, symbol: usize, kind: TradeKind, from_id: u64, limit: usize) -> Vec<TradeRecord>;
    /// Every known trade of a stretch of time, both ends included, in order; those from before the start of
    /// the simulator too, where the venue keeps a past.
    fn trades_between(&self, symbol: usize, kind: TradeKind, from_ms: i64, to_ms: i64) -> Vec<TradeRecord>;
    /// Age from which on a liquidation shows in a trade.
    fn liquidation_delay_ms(&self) -> i64;
}

/// A venue's protocol. Implementations are pure: no sockets, no locks.
pub trait Venue: Send + Sync {
    /// Exchange id, also the prefix of its addresses.
    fn exchange(&self) -> &'static str;
    /// How its market works.
    fn rules(&self) -> MarketRules;
    /// Its limits.
    fn limits(&self) -> Limits;
    /// Instruments for the given symbols, or the default ones when none is of this venue's form.
    fn instruments(&self, symbols: &[String], now_ms: i64) -> Vec<Instrument>;
    /// Names of the streams that carry an instrument.
    fn streams(&self, instrument: &Instrument) -> Vec<Arc<str>>;
    /// Names of further streams that carry several instruments, or none.
    fn shared_streams(&self, listed: &[Listed]) -> Vec<Arc<str>>;
    /// Volatility indices it publishes.
    fn indices(&self) -> &'static [&'static str] {
        &[]
    }
    /// The streams that carry trades of a kind.
    fn trade_streams<'a>(&self, listed: &'a Listed, kind: TradeKind) -> &'a [Arc<str>];
    /// The streams that carry book updates of a cadence.
    fn depth_streams<'a>(&self, listed: &'a Listed, cadence: usize) -> &'a [Arc<str>];
    /// Which trades its adapters are expected to take.
    fn usual_trades(&self) -> TradeKind;
    /// Trades that one frame carries at most.
    fn trades_per_frame(&self) -> usize {
        1
    }
    /// A trade's id on the wire.
    fn trade_id(&self, record: &TradeRecord) -> String {
        record.id.to_string()
    }
    /// Minutes of trades from before the start that it answers for.
    fn past_minutes(&self) -> u32 {
        0
    }
    /// The websocket request for a path behind the prefix; `None` when there is nothing.
    fn open(&self, path: &str, query: &str) -> Option<Opening>;
    /// Whether a stream flows on a route.
    fn carries(&self, _route: &str, _stream: &str) -> bool {
        true
    }
    /// Answers a client's text message.
    fn on_message(&self, text: &str, view: SessionView<'_>) -> Control;
    /// The messages of a heartbeat that a client asked for; the client must answer the last of them.
    fn heartbeat(&self) -> Vec<String> {
        Vec::new()
    }
    /// The frame of some trades on a stream.
    fn encode_trades(
        &self,
        listed: &Listed,
        kind: TradeKind,
        stream: &str,
        records: &[TradeRecord],
    ) -> String;
    /// The frames of any other event, for the streams somebody wants.
    fn encode(&self, listed: &Listed, event: &Event, wants: &dyn Fn(&str) -> bool) -> Vec<Encoded>;
    /// The frame of a book that a new subscriber is sent first, where the venue does so.
    fn encode_snapshot(&self, _listed: &Listed, _stream: &str, _snapshot: &Snapshot) -> Option<String> {
        None
    }
    /// The frame of a volatility index.
    fn encode_index(&self, _index: &str, _time_ms: i64, _value: Decimal) -> Option<Encoded> {
        None
    }
    /// The frame a new subscriber of a shared stream is sent first, from the newest events told.
    fn first_frame(
        &self,
        _stream: &str,
        _listed: &[Listed],
        _newest: &Newest<'_>,
    ) -> Option<(String, Vec<u64>)> {
        None
    }
    /// Wraps a frame with its stream's name.
    fn wrap(&self, _stream: &str, raw: &str) -> String {
        raw.to_owned()
    }
    /// The message that announces the end of a connection: stream name and frame.
    fn shutdown_notice(&self, _now_ms: i64) -> Option<(&'static str, String)> {
        None
    }
    /// Whether update numbers may start anew from a smaller one.
    fn restarts_sequence(&self) -> bool {
        false
    }
    /// Cost and meaning of a REST request.
    fn rest_call(&self, request: &RestRequest) -> RestCall;
    /// Answers a REST request.
    fn rest_answer(&self, request: &RestRequest, source: &dyn Source) -> RestAnswer;
    /// Body of an answer that refuses for rate (429) or bans (418).
    fn rest_refusal(&self, status: u16, until_ms: i64) -> String;
    /// Header that shows the used weight.
    fn weight_header(&self) -> Option<&'static str> {
        None
    }
    /// Whether a recorded address is this exchange's.
    fn owns_url(&self, _url: &str) -> bool {
        false
    }
}
