//! `[lease]`: times of the leases by which centrals share work.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Times of a lease. All are fractions of one, so that their order holds for every value; it must be the same in all centrals.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct LeaseTimes {
    /// A task is taken over when its holder was silent for this long; the same in every central.
    #[serde(rename = "time_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 4_000, max = 300_000))]
    pub expiry: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self { expiry: Duration::from_secs(10) }
    }
}

impl LeaseTimes {
    /// The holder stops this long after the start of its last renewal, before another process may take the lease.
    pub fn validity(self) -> Duration {
        self.expiry * 9 / 10
    }

    /// Three tries before the lease is lost.
    pub fn renewal(self) -> Duration {
        self.expiry * 3 / 10
    }

    /// Polling interval of waiting processes, and of holders for demands. With `expiry` it bounds a takeover.
    pub fn poll(self) -> Duration {
        self.expiry / 10
    }

    /// Remaining validity that starting an insert requires.
    pub fn insert_margin(self) -> Duration {
        self.expiry * 3 / 10
    }

    /// Remaining validity that sending a chunk requires: a client suspended right then is dropped by the server (`insert_stall`) before
    /// another central may hold the lease.
    pub fn chunk_margin(self) -> Duration {
        self.expiry * 2 / 10
    }

    /// The server drops an insert whose client stalls this long; whole seconds.
    pub fn insert_stall(self) -> Duration {
        Duration::from_secs((self.expiry * 3 / 10).as_secs())
    }

    /// Remaining validity that a short write requires.
    pub fn write_margin(self) -> Duration {
        self.expiry / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An insert that a suspended process has begun must be dropped by the server before another central may own the stream.
    #[test]
    fn a_stalled_insert_ends_before_the_lease_expires() {
        for millis in [4_000, 5_500, 10_000, 300_000] {
            let times = LeaseTimes { expiry: Duration::from_millis(millis) };
            assert!(times.chunk_margin() + times.expiry - times.validity() >= times.insert_stall());
            assert!(
                times.insert_stall() >= Duration::from_secs(1) && times.renewal() * 3 <= times.validity()
            );
        }
    }
}
