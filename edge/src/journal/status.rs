//! Counters of the journal, for metrics and `/health`.

use std::time::Duration;

use marketprism_schema::DataTypeMap;

use crate::limits::JOURNAL_UNSYNCED;
use crate::telemetry::labels;

labels! {
    /// Cause of an event that was in the journal and will not be sent.
    JournalLoss {
        /// The oldest segment made room.
        Full = "journal_full",
        /// Older than `journal.max_age_seconds`.
        Expired = "journal_expired",
        /// The disk did not take it, and it was no longer in memory.
        WriteFailed = "journal_write_failed",
        /// The disk does not give it back.
        Damaged = "journal_damaged",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalStatus {
    pub bytes: u64,
    pub segments: u64,
    /// Receive time of the oldest event on disk.
    pub oldest_ns: Option<i64>,
    /// Events that are on disk only and wait for the broker.
    pub waiting: u64,
    /// Events published without a place on disk.
    pub unjournaled: DataTypeMap<u64>,
    pub lost: [DataTypeMap<u64>; JournalLoss::ALL.len()],
    pub write_errors: u64,
    pub read_errors: u64,
    /// Syncs at whose end a write was older than two intervals, and than 200 ms.
    pub late_syncs: u64,
    /// Age of the oldest write that a power cut would lose.
    pub unsynced: Duration,
    /// Configured time between syncs.
    pub sync_every: Duration,
    /// Events of earlier runs that were found at the start and are sent again.
    pub recovered: u64,
    pub torn_tails: u64,
    pub torn_bytes: u64,
    /// Damaged places between valid records.
    pub damaged: u64,
    /// Events that were stored by the broker and not confirmed in hot when their segment made room.
    pub freed_unconfirmed: u64,
    /// Stored events that are sent again.
    pub sent_again: u64,
    /// Streams that were found to have lost messages, each time.
    pub broker_losses: u64,
    /// Begin of what is kept of this error, until a write succeeds.
    pub failing: Option<String>,
    /// The waiting events take more than half of the journal: order books are not written.
    pub is_tight: bool,
}

impl JournalStatus {
    pub(super) fn lose(&mut self, loss: JournalLoss, events: &DataTypeMap<u64>) {
        if let Some(lost) = self.lost.get_mut(loss as usize) {
            for (data_type, count) in events {
                lost[data_type] += count;
            }
        }
    }

    /// Reasons for `/health`.
    pub fn reasons(&self) -> Vec<String> {
        let failing = self.failing.as_ref().map(|error| {
            format!("journal: {error}; events are in memory only until the disk takes them again")
        });
        let tight = self.is_tight.then(|| {
            format!(
                "journal: {} events wait for the broker in more than half of its bytes; order books are not written",
                self.waiting
            )
        });
        // A healthy disk has synced nothing for an interval, and for the time of a sync.
        let unsynced = (self.unsynced >= JOURNAL_UNSYNCED.max(2 * self.sync_every)).then(|| {
            format!(
                "journal: nothing was synced for {} s; a power cut would lose what was written since",
                self.unsynced.as_secs()
            )
        });
        failing.into_iter().chain(tight).chain(unsynced).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_has_synced_nothing_for_seconds_is_named() {
        let reasons = |unsynced, sync_every| {
            JournalStatus { unsynced, sync_every, ..JournalStatus::default() }.reasons()
        };
        let interval = JOURNAL_UNSYNCED / 50;
        assert!(reasons(JOURNAL_UNSYNCED / 2, interval).is_empty());
        assert!(reasons(2 * JOURNAL_UNSYNCED, interval)[0].contains("nothing was synced for 10 s"));
        let long = 6 * JOURNAL_UNSYNCED;
        assert!(reasons(long + JOURNAL_UNSYNCED, long).is_empty(), "a configured interval of 30 s");
        assert!(reasons(2 * long, long)[0].contains("nothing was synced for 60 s"));
    }
}
