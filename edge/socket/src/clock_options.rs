//! Measurements of the venue's clock: when, by whom they are taken, and their result.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::error::RequestFailure;

/// Result of one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    /// This machine's clock minus the venue's.
    pub offset_ns: i64,
    /// Bound of the error, in both directions.
    pub error_ns: i64,
    /// By this machine's clock.
    pub measured_at_ns: i64,
    pub at: Instant,
}

#[derive(Debug, thiserror::Error)]
pub enum ClockFailure {
    #[error(transparent)]
    Request(#[from] RequestFailure),
    #[error(
        "no time at `{pointer}` of the answer ({bytes} bytes), allowed: a whole number, or a text that is one"
    )]
    Unreadable { pointer: String, bytes: usize },
    #[error("the clock was set during the request")]
    Unsteady,
}

pub trait ClockObserver: fmt::Debug + Send + Sync {
    fn measured(&self, result: Result<ClockOffset, ClockFailure>);
}

#[derive(Debug, Clone)]
pub struct ClockOptions {
    /// Time between two measurements, a tenth more or less.
    pub every: Duration,
    /// Steps of this machine's clock: a change begins a measurement at once, in place of the one that is under way.
    pub steps: watch::Receiver<u64>,
    pub observer: Arc<dyn ClockObserver>,
}
