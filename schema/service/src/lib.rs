//! Run-time parts that all binaries share: clock, back-off, log set-up and limits, signals, exit codes, accept loop.
//! Nothing here knows about market data or configuration.

mod accept;
mod backoff;
pub mod clock;
mod exit;
mod file_lock;
#[cfg(feature = "http")]
mod http;
mod log_limit;
mod logs;
mod signals;

pub use accept::{accept, serve_connections};
pub use backoff::{Backoff, jitter};
pub use exit::{Exit, Failure, FailureContext, print, report};
pub use file_lock::FileLock;
#[cfg(feature = "http")]
pub use http::{HttpBounds, serve_http};
pub use log_limit::LogLimit;
pub use logs::init_logs;
pub use signals::{Signals, cancel_on_signal};
