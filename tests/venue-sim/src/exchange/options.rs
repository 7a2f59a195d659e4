//! Settings of an exchange.

use std::time::Duration;

use crate::ledger::Backlog;
use crate::venue::Limits;

/// Settings of an exchange, its own limits with what the configuration changes.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub limits: Limits,
    pub heartbeat_every: Option<Duration>,
    pub backlog: Option<Backlog>,
    /// How often a client is asked how far it has read, in backlog mode.
    pub confirm_every: Duration,
    pub notice_before: Option<Duration>,
    pub write_within: Duration,
    /// Frames queued per connection. Full policy: the connection is ended and counted.
    pub queue_capacity: usize,
    /// Age from which on a trade's liquidation shows, where the venue tells it late, ms.
    pub liquidation_delay_ms: i64,
    pub past_per_minute: u32,
}
