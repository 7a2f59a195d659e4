//! Counters of a store of raw frames, for metrics and `/health`.

use std::time::{Duration, Instant};

use crate::limits::RAW_LOSS_TOLD;
use crate::telemetry::labels;

labels! {
    /// Cause of a line that was not written.
    RawLoss {
        /// The disk is slower than the venue, or hangs.
        QueueFull = "queue_full",
        WriteFailed = "write_failed",
        /// Recordings are text.
        NotText = "not_text",
    }
}

labels! {
    /// Cause of a deleted segment.
    RawDeletion {
        Bytes = "max_bytes",
        Age = "max_age",
        /// The disk is full: events need its room more.
        DiskFull = "disk_full",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawStatus {
    pub bytes: u64,
    pub segments: u64,
    /// Time of the oldest frame on disk.
    pub oldest_ns: Option<i64>,
    pub written: u64,
    pub lost: [u64; RawLoss::ALL.len()],
    /// Deleted segments.
    pub deleted: [u64; RawDeletion::ALL.len()],
    pub write_errors: u64,
    /// Components that could not be copied.
    pub component_errors: u64,
    pub torn_tails: u64,
    /// Damaged places in the newest segment of the earlier run.
    pub damaged: u64,
    /// Error of the disk, until a write succeeds.
    pub failing: Option<String>,
    pub lost_at: Option<Instant>,
}

impl RawStatus {
    pub(super) fn lose(&mut self, loss: RawLoss, lines: u64) {
        if lines > 0 {
            self.lost_at = Some(Instant::now());
            if let Some(lost) = self.lost.get_mut(loss as usize) {
                *lost += lines;
            }
        }
    }

    pub(super) fn delete(&mut self, reason: RawDeletion) {
        if let Some(deleted) = self.deleted.get_mut(reason as usize) {
            *deleted += 1;
        }
    }

    /// For `/health`: a loss is reported for a minute.
    pub fn problem(&self, exchange: &str) -> Option<String> {
        let lost: u64 = self.lost.iter().sum();
        let since = self.lost_at.map(|at| at.elapsed()).filter(|since| *since < RAW_LOSS_TOLD);
        match (&self.failing, since) {
            (Some(error), _) => Some(format!(
                "{exchange}: raw frames are not written: {error}; {lost} lost since the start, events are not affected"
            )),
            (None, Some(since)) => Some(format!(
                "{exchange}: {lost} raw frames lost since the start, the last {} s ago; events are not affected",
                Duration::as_secs(&since)
            )),
            (None, None) => None,
        }
    }
}
