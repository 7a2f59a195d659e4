//! The queue between pipelines and writer of an exchange's raw frames: bounded, nothing waits for the disk.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lines::RawLine;
use super::status::{RawLoss, RawStatus};
use crate::journal::JournalFiles;
use crate::limits::{RAW_BLOCK_BYTES, RAW_HEAD_BYTES_MAX, RAW_QUEUE_LINES, RAW_SEGMENTS};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawOptions {
    pub max_bytes: u64,
    pub max_age: Duration,
    pub segment_bytes: u64,
}

impl RawOptions {
    /// A segment with so many bytes is full.
    pub(super) fn segment_bytes_max(&self) -> u64 {
        self.segment_bytes.min(self.max_bytes / RAW_SEGMENTS)
    }

    /// Bytes that a segment repeats: more would leave no room for frames.
    pub(super) fn head_bytes_max(&self) -> usize {
        usize::try_from(self.segment_bytes_max() / 2).unwrap_or(usize::MAX).min(RAW_HEAD_BYTES_MAX)
    }
}

/// The adapter that normalizes the frames from now on, and where its component may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterInUse {
    pub id: String,
    pub digest: String,
    pub components: Vec<PathBuf>,
}

#[derive(Debug)]
pub(super) enum RawInput {
    Frame(RawLine),
    /// Later frames need it: each segment begins with the newest one of its address.
    State(RawLine),
    Adapter(RawLine, AdapterInUse),
}

pub(super) struct RawShared {
    pub(super) exchange: String,
    pub(super) folder: PathBuf,
    pub(super) files: Arc<dyn JournalFiles>,
    pub(super) state: Mutex<RawState>,
    /// Something to write, or the end.
    pub(super) changed: Condvar,
    pub(super) last_connection: AtomicU32,
}

pub(super) struct RawState {
    pub(super) queue: VecDeque<RawInput>,
    pub(super) queued_bytes: usize,
    pub(super) options: RawOptions,
    pub(super) is_closing: bool,
    pub(super) status: RawStatus,
}

impl RawState {
    /// Waking the writer for each frame would cost the pipelines more than the rest.
    fn is_due(&self) -> bool {
        self.queued_bytes >= RAW_BLOCK_BYTES || self.queue.len() >= RAW_QUEUE_LINES / 2
    }
}

impl RawShared {
    pub(super) fn lock(&self) -> MutexGuard<'_, RawState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until much has come or `wait` is over; true for the latter, and at the end: nothing comes after.
    pub(super) fn take(&self, wait: Duration) -> (VecDeque<RawInput>, bool, bool) {
        let (mut state, waited) = self
            .changed
            .wait_timeout_while(self.lock(), wait, |state| !state.is_due() && !state.is_closing)
            .unwrap_or_else(PoisonError::into_inner);
        state.queued_bytes = 0;
        (std::mem::take(&mut state.queue), waited.timed_out(), state.is_closing)
    }

    /// `bytes_max`: of the queue with this line; an empty queue takes any.
    pub(super) fn push(&self, input: RawInput, size: usize, bytes_max: usize) {
        let mut state = self.lock();
        let is_full =
            state.queued_bytes.saturating_add(size) > bytes_max || state.queue.len() >= RAW_QUEUE_LINES;
        if (is_full && !state.queue.is_empty()) || state.is_closing {
            state.status.lose(RawLoss::QueueFull, 1);
            return;
        }
        let was_due = state.is_due();
        state.queued_bytes += size;
        state.queue.push_back(input);
        let is_due = state.is_due();
        drop(state);
        if is_due && !was_due {
            self.changed.notify_one();
        }
    }
}
