//! Pace of the checkpoints.

use std::time::{Duration, Instant};

use marketprism_service::clock;

use crate::limits::{CHECKPOINT_BYTES_A_SECOND, CHECKPOINT_SHARE};

pub(super) struct CheckpointPace {
    /// Time and bytes of the last checkpoint.
    last: (Instant, u64),
    /// Bytes of the checkpoints since a time up to which not all events are sent.
    held: (i64, u64),
}

impl CheckpointPace {
    pub(super) fn new() -> Self {
        Self { last: (Instant::now(), 0), held: (0, 0) }
    }

    /// `pending_ns`: receive time of the oldest event that is not sent.
    pub(super) fn is_due(&mut self, pending_ns: Option<i64>, journal_bytes: u64) -> bool {
        if pending_ns.is_none_or(|pending_ns| pending_ns > self.held.0) {
            self.held = (clock::now_ns(), 0);
        }
        let (at, bytes) = self.last;
        at.elapsed() >= checkpoint_pause(bytes, self.held.1, journal_bytes)
    }

    pub(super) fn wrote(&mut self, bytes: u64) {
        self.last = (Instant::now(), bytes);
        self.held.1 = self.held.1.saturating_add(bytes);
    }
}

/// Pause after a checkpoint of so many bytes; `held`: bytes of checkpoints in segments that unsent events keep.
fn checkpoint_pause(bytes: u64, held: u64, journal_bytes: u64) -> Duration {
    let doublings = held / (journal_bytes / CHECKPOINT_SHARE).max(1);
    let millis = bytes.saturating_mul(1_000) / CHECKPOINT_BYTES_A_SECOND;
    Duration::from_millis(millis.saturating_mul(1 << doublings.min(16)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::AUDIT_CLOSE_EVERY;

    #[test]
    fn checkpoints_of_a_day_without_the_broker_take_a_sixteenth_of_the_journal_at_most() {
        const JOURNAL: u64 = 1 << 30;
        for bytes in [2_000, 400_000, 4_000_000] {
            let (mut held, mut time) = (0, Duration::ZERO);
            while time < Duration::from_secs(86_400) {
                held += bytes;
                time += checkpoint_pause(bytes, held, JOURNAL).max(AUDIT_CLOSE_EVERY);
            }
            assert!(held <= JOURNAL / 16 + bytes, "{held} bytes in checkpoints of {bytes}");
        }
        assert_eq!(checkpoint_pause(CHECKPOINT_BYTES_A_SECOND, 0, JOURNAL), Duration::from_secs(1));
    }
}
