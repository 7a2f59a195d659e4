//! The seam between the simulator and a venue.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::frame::Frame;
use crate::ledger::{TradeKind, TradeRecord};
use crate::market::{Event, Instrument, MarketRules};

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

/// A venue's limits and periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Period of the server's ping frames.
    pub ping_every: Duration,
    /// The connection is closed when a ping stays unanswered this long.
    pub pong_within: Duration,
    /// The connection is closed at this age.
    pub age_max: Duration,
    /// Messages (text, ping, pong) a client may send in a second.
    pub messages_per_second: usize,
    /// Streams per connection.
    pub streams_max: usize,
    /// REST weight per window and address.
    pub weight_max: u32,
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
#[derive(Debug, Clone, Copy)]
pub struct SessionView<'a> {
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
}

/// Answer to a control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Text to send back.
    pub reply: String,
    /// What changes.
    pub action: ControlAction,
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
    /// Whether the answer is a book snapshot.
    pub snapshot: bool,
}

/// A REST answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestAnswer {
    /// HTTP status.
    pub status: u16,
    /// JSON text.
    pub body: String,
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

/// Where a venue's REST answers come from.
pub trait Source {
    /// All symbols.
    fn listed(&self) -> &[Listed];
    /// A symbol by its name.
    fn find(&self, symbol: &str) -> Option<&Listed>;
    /// The book, as of now or of some changes ago.
    fn snapshot(&self, symbol: usize, depth: usize) -> Option<Snapshot>;
    /// The newest trades.
    fn newest_trades(&self, symbol: usize, kind: TradeKind, limit: usize) -> Vec<TradeRecord>;
    /// Trades from an id on.
    fn trades_from(&self, symbol: usize, kind: TradeKind, from_id: u64, limit: usize) -> Vec<TradeRecord>;
}

/// A venue's protocol. Implementations are pure: no sockets, no locks.
pub trait Venue: Send + Sync {
    /// Exchange id, also the prefix of its addresses.
    fn exchange(&self) -> &'static str;
    /// How its market works.
    fn rules(&self) -> MarketRules;
    /// Its limits.
    fn limits(&self) -> Limits;
    /// Instruments for the given symbols, or the default ones when none are given.
    fn instruments(&self, symbols: &[String], now_ms: i64) -> Vec<Instrument>;
    /// Names of the streams that carry an instrument.
    fn streams(&self, instrument: &Instrument) -> Vec<Arc<str>>;
    /// The stream that carries trades of a kind, if there is one.
    fn trade_stream<'a>(&self, listed: &'a Listed, kind: TradeKind) -> Option<&'a Arc<str>>;
    /// The streams that carry book updates of a cadence.
    fn depth_streams<'a>(&self, listed: &'a Listed, cadence: usize) -> &'a [Arc<str>];
    /// Which trades its adapters are expected to take.
    fn usual_trades(&self) -> TradeKind;
    /// The websocket request for a path behind the prefix; `None` when there is nothing.
    fn open(&self, path: &str, query: &str) -> Option<Opening>;
    /// Whether a stream flows on a route.
    fn carries(&self, route: &str, stream: &str) -> bool;
    /// Answers a client's text message.
    fn on_message(&self, text: &str, view: SessionView<'_>) -> Control;
    /// The frame of a trade.
    fn encode_trade(&self, listed: &Listed, kind: TradeKind, record: &TradeRecord) -> String;
    /// The frames of any other event, for the streams somebody wants.
    fn encode(&self, listed: &Listed, event: &Event, wants: &dyn Fn(&str) -> bool, out: &mut Vec<Frame>);
    /// Wraps a frame with its stream's name.
    fn wrap(&self, stream: &str, raw: &str) -> String;
    /// The message that announces the end of a connection: stream name and frame.
    fn shutdown_notice(&self, now_ms: i64) -> Option<(&'static str, String)>;
    /// Cost and meaning of a REST request.
    fn rest_call(&self, request: &RestRequest) -> RestCall;
    /// Answers a REST request.
    fn rest_answer(&self, request: &RestRequest, source: &dyn Source) -> RestAnswer;
    /// Body of an answer that refuses for rate (429) or bans (418).
    fn rest_refusal(&self, status: u16, until_ms: i64) -> String;
    /// Header that shows the used weight.
    fn weight_header(&self) -> &'static str;
    /// Whether a recorded address is this exchange's.
    fn owns_url(&self, url: &str) -> bool;
}
