//! Run-time parts that all binaries share: clock, back-off, log set-up and limits, signals, exit codes, accept loop.
//! Nothing here knows about market data or configuration.

mod accept;
mod backoff;
pub mod clock;
mod file_lock;
#[cfg(feature = "http")]
mod http;
mod logs;
mod process;

pub use accept::{accept, serve_connections};
pub use backoff::{Backoff, jitter};
pub use file_lock::FileLock;
#[cfg(feature = "http")]
pub use http::{HttpBounds, serve_http};
pub use logs::{LogLimit, init_logs};
pub use process::{Exit, Failure, FailureContext, Signals, cancel_on_signal, print, report};
