//! Bounds of the journal.

use std::path::PathBuf;
use std::time::Duration;

use crate::limits::{JOURNAL_SEGMENT_BYTES, JOURNAL_SEGMENTS};

#[derive(Debug, Clone)]
pub struct JournalOptions {
    pub folder: PathBuf,
    pub run_ns: i64,
    pub bytes: u64,
    pub age: Duration,
    /// Time for which events that are in hot are kept for repair.
    pub keep_confirmed: Duration,
    /// Time between syncs; zero: after each group of writes.
    pub sync_every: Duration,
}

/// The part of the options that may change while the journal is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalLimits {
    pub bytes: u64,
    pub age: Duration,
    pub keep_confirmed: Duration,
    pub sync_every: Duration,
}

impl From<&JournalOptions> for JournalLimits {
    fn from(options: &JournalOptions) -> Self {
        let &JournalOptions { bytes, age, keep_confirmed, sync_every, .. } = options;
        Self { bytes, age, keep_confirmed, sync_every }
    }
}

impl JournalLimits {
    pub(super) fn segment_bytes(&self) -> u64 {
        (self.bytes / JOURNAL_SEGMENTS).min(JOURNAL_SEGMENT_BYTES)
    }
}

#[cfg(test)]
impl JournalOptions {
    /// A gibibyte and a minute of events, synced once a second.
    pub(super) fn fixture(folder: &std::path::Path, run_ns: i64) -> Self {
        let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
        let folder = folder.to_owned();
        Self { folder, run_ns, bytes: 1 << 30, age: minute, keep_confirmed: minute, sync_every: second }
    }
}
