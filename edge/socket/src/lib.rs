//! Network I/O of a feed: websockets, REST requests, polls and resyncs as the adapter's plan specifies. It
//! knows no venue.
//! Connections stay open (heartbeats, back-off, overlapping renewals, detection of silent streams), rate
//! limits are exact rolling windows, and everything read goes to one queue, bounded in number and bytes.
//! While it is full, nothing is read; what is discarded is counted by reason.

mod budgets;
mod clock_options;
mod connection;
mod context;
mod counters;
mod dial;
mod error;
mod event;
mod feed;
mod inputs;
mod limits;
mod options;
mod poll;
mod proxy;
mod renewals;
mod request_runner;
mod rest;
mod status;
mod tls;
mod venue_clock;

pub use budgets::{BudgetPermit, Budgets};
pub use clock_options::{ClockFailure, ClockObserver, ClockOffset, ClockOptions};
pub use counters::{SocketCounter, SocketCounters};
pub use error::{BudgetError, CloseReason, CommandError, DialError, RequestFailure, SocketError};
pub use event::{ReceivedFrame, SilenceHint, SocketEvent};
pub use feed::FeedSockets;
pub use inputs::{InputBounds, InputReceiver, InputSender, TakenInputs, input_queue};
pub use options::{BackoffOptions, SocketOptions};
pub use proxy::{NoProxy, PROXY_VARIABLES, Proxy, ProxyRules, ProxyVariables, Route};
pub use rest::{RestClient, http_client};
pub use status::{ConnectionPhase, ConnectionStatus, StreamStatus, SubscriptionPhase};
