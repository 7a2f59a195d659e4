//! Run-time parts that all binaries share: clock, back-off, log set-up and limits, signals, exit codes, accept loop.
//! Nothing here knows about market data or configuration.

mod accept;
mod backoff;
pub mod clock;
mod exit;
#[cfg(feature = "http")]
mod http;
mod log_limit;
mod logs;
mod signals;

pub use accept::{accept, serve_connections};
pub use backoff::{Backoff, jitter};
pub use exit::{Exit, Failure, FailureContext, print, report};
#[cfg(feature = "http")]
pub use http::{HttpBounds, serve_http};
pub use log_limit::LogLimit;
pub use logs::init_logs;
pub use signals::{Signals, cancel_on_signal};
