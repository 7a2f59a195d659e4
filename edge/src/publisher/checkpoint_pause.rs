//! Pace of the checkpoints.

use std::time::Duration;

use crate::limits::{CHECKPOINT_BYTES_A_SECOND, CHECKPOINT_SHARE};

/// Pause after a checkpoint of so many bytes; `held`: bytes of checkpoints in segments that unsent events keep.
pub(super) fn checkpoint_pause(bytes: u64, held: u64, journal_bytes: u64) -> Duration {
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
