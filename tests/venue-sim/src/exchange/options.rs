//! Configured settings of an exchange.

use std::time::Duration;

use crate::ledger::Backlog;
use crate::venue::Limits;

/// Configured settings of an exchange.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub limits: Limits,
    pub heartbeat_every: Option<Duration>,
    pub backlog: Option<Backlog>,
    /// Interval of the pings that show how far a client has read, in backlog mode.
    pub confirm_every: Duration,
    pub notice_before: Option<Duration>,
    pub write_within: Duration,
    /// Frames queued per connection. When full, the connection is ended and counted.
    pub queue_capacity: usize,
    /// Age from which a trade shows that it was a liquidation, ms.
    pub liquidation_delay_ms: i64,
    pub past_per_minute: u32,
}
