//! What every worker and every insert needs.

use std::time::Duration;

use rand::Rng as _;

use crate::broker::Broker;
use crate::config::Config;
use crate::coverage::Coverage;
use crate::lease::Leases;
use crate::limits;
use crate::metrics::Metrics;
use crate::repair::Desk;
use crate::status::Status;
use crate::storage::Storage;

/// Part of the status that says whether ClickHouse takes rows.
pub const CLICKHOUSE: &str = "clickhouse";

/// What every worker and every insert needs.
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// The broker.
    pub broker: Broker,
    /// Hot storage.
    pub storage: Storage,
    /// Cold storage.
    pub cold: Storage,
    /// Who does what only one central may do.
    pub leases: Leases,
    /// What is counted.
    pub metrics: Metrics,
    /// What is wrong.
    pub status: Status,
    /// What arrived.
    pub coverage: Coverage,
    /// Repairs.
    pub repair: Desk,
}

/// Pauses between tries: doubling, jittered by half, bounded.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// Starts with the shortest pause.
    pub const fn new() -> Self {
        Self { next: limits::BACKOFF_FIRST }
    }

    /// The pause before the next try.
    pub fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(limits::BACKOFF_MAX);
        whole.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: pauses grow, stay bounded, and are never so short that a server in trouble is hammered.
    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..12).map(|_| backoff.pause()).collect();
        assert!(pauses.iter().all(|p| *p >= limits::BACKOFF_FIRST / 2 && *p <= limits::BACKOFF_MAX));
        assert!(pauses[11] >= limits::BACKOFF_MAX / 2);
    }
}
