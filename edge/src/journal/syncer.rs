//! The syncing thread: makes what was written durable, at the configured interval. It waits for the disk, and nothing waits for it.
//!
//! A write during a sync is durable at the end of the next one: a power cut loses at most what came in the longer of the interval
//! and one sync, and during another sync.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marketprism_service::LogLimit;

use super::files::JournalFile;
use super::shared::JournalShared;
use crate::limits::JOURNAL_SYNC_EVERY;

/// Longest wait before the interval of syncs is looked at: it may be shorter now.
const SYNC_LOOK: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Syncer {
    state: Mutex<SyncState>,
    changed: Condvar,
}

#[derive(Default)]
struct SyncState {
    dirty: VecDeque<(u64, Arc<dyn JournalFile>)>,
    /// First write to these files.
    written_at: Option<Instant>,
    /// First write of what is being synced.
    syncing_since: Option<Instant>,
    is_ending: bool,
}

impl Syncer {
    fn lock(&self) -> MutexGuard<'_, SyncState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, segment: u64, file: &Arc<dyn JournalFile>) {
        let mut state = self.lock();
        state.written_at.get_or_insert_with(Instant::now);
        if state.dirty.back().is_none_or(|(last, _)| *last != segment) {
            state.dirty.push_back((segment, Arc::clone(file)));
        }
    }

    /// Age of the oldest write that a power cut would lose.
    pub(super) fn unsynced(&self) -> Duration {
        let state = self.lock();
        state.syncing_since.or(state.written_at).map(|since| since.elapsed()).unwrap_or_default()
    }

    /// After the last write.
    pub(super) fn end(&self) {
        self.lock().is_ending = true;
        self.changed.notify_all();
    }

    pub(super) fn run(&self, shared: &JournalShared) {
        let (mut error_lines, mut late_lines) = (LogLimit::default(), LogLimit::default());
        let mut synced = Instant::now();
        loop {
            let interval = shared.limits().sync_every.max(Duration::from_millis(1));
            let left = interval.saturating_sub(synced.elapsed());
            let (mut state, _) = self
                .changed
                .wait_timeout_while(self.lock(), left.min(SYNC_LOOK), |state| !state.is_ending)
                .unwrap_or_else(PoisonError::into_inner);
            if !state.is_ending && left > SYNC_LOOK {
                continue;
            }
            synced = Instant::now();
            state.syncing_since = state.written_at.take();
            let (dirty, is_ending) = (std::mem::take(&mut state.dirty), state.is_ending);
            drop(state);
            for (segment, file) in dirty {
                if let Err(error) = file.sync() {
                    failed(shared, segment, &error, &mut error_lines);
                }
            }
            let at_risk = self.lock().syncing_since.take().map(|since| since.elapsed());
            let allowed = 2 * interval.max(JOURNAL_SYNC_EVERY);
            if let Some(at_risk) = at_risk.filter(|at_risk| *at_risk > allowed) {
                shared.lock().status.late_syncs += 1;
                if let Some(held_back) = late_lines.allow(Instant::now()) {
                    let took = synced.elapsed();
                    tracing::warn!(
                        ?at_risk,
                        ?took,
                        ?allowed,
                        held_back,
                        "the disk syncs the journal slowly: a power cut would have lost what came in this time"
                    );
                }
            }
            if is_ending {
                return;
            }
        }
    }
}

pub(super) fn failed(shared: &JournalShared, segment: u64, error: &std::io::Error, lines: &mut LogLimit) {
    shared.lock().sync_failed(error);
    if let Some(held_back) = lines.allow(Instant::now()) {
        let path = shared.path_of(segment);
        tracing::error!(%error, ?path, held_back, "journal not synced: a power cut may lose its newest events");
    }
}
