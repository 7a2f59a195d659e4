//! The input and output of a feed: websockets, REST requests, polls and resyncs, carried out as an adapter's
//! plan says.
//!
//! This crate knows no venue. It keeps connections standing (heartbeat, back-off, planned overlapping
//! renewal, silence watchdog), keeps every rate limit as an exact rolling window, and hands everything it
//! reads to one bounded queue. When that queue is full it stops reading: nothing read is thrown away.
//! Whatever is discarded is counted by reason.

mod backoff;
mod budgets;
mod clock;
mod connection;
mod context;
mod counters;
mod error;
mod feed;
mod input;
mod limits;
mod options;
mod plan;
mod poll;
mod references;
mod renewals;
mod requester;
mod rest;
mod resync;
mod status;
mod tls;

pub use budgets::{BudgetUsage, Budgets, Permit};
pub use counters::{Counted, SocketCounters};
pub use error::{BudgetError, CloseReason, Refused, RequestFailure, SocketError};
pub use feed::FeedSockets;
pub use input::{Frame, Input, SilenceHint};
pub use options::{BackoffOptions, SocketOptions};
pub use rest::{RestClient, http_client};
pub use status::{ConnectionPhase, ConnectionStatus, StreamStatus};
