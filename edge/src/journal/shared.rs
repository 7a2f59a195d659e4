//! Parts of the journal that its handle and its threads share.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use marketprism_service::clock;

use super::ages::{AgeClocks, KeepLimits};
use super::files::JournalFiles;
use super::options::{JournalLimits, JournalOptions};
use super::recover;
use super::state::JournalState;
use super::syncer::Syncer;
use crate::audit::Auditor;
use crate::clocks::nanos;

pub(super) struct JournalShared {
    /// Earlier runs have the positions before.
    pub(super) first_of_run: u64,
    opened: Instant,
    pub(super) options: JournalOptions,
    pub(super) files: Arc<dyn JournalFiles>,
    pub(super) auditor: Arc<Auditor>,
    /// Locked last, and for a copy only.
    limits: Mutex<JournalLimits>,
    state: Mutex<JournalState>,
    pub(super) syncer: Syncer,
    /// For the writer: something to write, or the end.
    pub(super) written: Condvar,
    /// For the reader: something to send, or the end.
    pub(super) waiting: Condvar,
}

impl JournalShared {
    /// `next`: behind every position that is on disk.
    pub(super) fn new(
        options: JournalOptions,
        files: Arc<dyn JournalFiles>,
        auditor: Arc<Auditor>,
        next: u64,
    ) -> Self {
        let limits = JournalLimits::from(&options);
        let state = JournalState::new(next, limits.segment_bytes());
        let (state, written, waiting) = (Mutex::new(state), Condvar::new(), Condvar::new());
        let (limits, syncer) = (Mutex::new(limits), Syncer::default());
        let opened = Instant::now();
        Self { first_of_run: next, opened, options, files, auditor, limits, state, syncer, written, waiting }
    }

    pub(super) fn limits(&self) -> JournalLimits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's next round deletes what is beyond them.
    pub(super) fn set_limits(&self, limits: JournalLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.lock().segment_bytes = limits.segment_bytes();
        self.written.notify_all();
        self.waiting.notify_all();
    }

    /// Each change leaves the state whole, so a poisoned lock is used on.
    pub(super) fn lock(&self) -> MutexGuard<'_, JournalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the writer: there may be something to write. Ends the use of the state.
    pub(super) fn wake_writer(&self, mut state: MutexGuard<'_, JournalState>) {
        let wakes = state.wakes_writer();
        drop(state);
        if wakes {
            self.written.notify_one();
        }
    }

    pub(super) fn path_of(&self, segment: u64) -> PathBuf {
        recover::path_of(&self.options.folder, segment)
    }

    pub(super) fn age_clocks(&self) -> AgeClocks {
        AgeClocks { passed_to_ns: self.passed_to_ns(Instant::now()), wall_ns: clock::now_ns() }
    }

    pub(super) fn passed_to_ns(&self, now: Instant) -> i64 {
        self.options.run_ns.saturating_add(nanos(now.saturating_duration_since(self.opened)))
    }

    pub(super) fn keep_limits(&self, is_failing: bool) -> KeepLimits {
        // A full disk gets back what is in hot.
        let JournalLimits { bytes, age, keep_confirmed, .. } = self.limits();
        let confirmed_ns = if is_failing { 0 } else { nanos(keep_confirmed) };
        KeepLimits { bytes, age_ns: nanos(age), confirmed_ns }
    }
}
