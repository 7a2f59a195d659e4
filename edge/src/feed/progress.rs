//! Progress of pipelines, and the threads of those that were given up because they made none.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use marketprism_adapter_host::Stats;
use tokio::time::sleep;

use crate::limits::{HANGING_PIPELINES_MAX, PIPELINES_DRAIN, PROGRESS_EVERY, STUCK_CHECKS};
use crate::queue::EventQueue;

/// Times after which a pipeline is given up.
#[derive(Debug, Clone, Copy)]
pub struct PipelineTimes {
    /// Interval of the checks.
    pub check_every: Duration,
    /// Checks in a row without progress.
    pub checks: u32,
    /// For its inputs at a stop, and again for its end.
    pub drain: Duration,
}

impl Default for PipelineTimes {
    fn default() -> Self {
        Self { check_every: PROGRESS_EVERY, checks: STUCK_CHECKS, drain: PIPELINES_DRAIN }
    }
}

impl PipelineTimes {
    /// With the time that a call into the adapter may take.
    pub(super) fn with_call(self, deadline: Duration) -> Self {
        let of_call = deadline.as_nanos() / self.check_every.as_nanos().max(1);
        let checks = self.checks.saturating_add(u32::try_from(of_call).unwrap_or(u32::MAX));
        Self { checks, ..self }
    }
}

/// Written by the pipeline's thread, which turns at least twice a second, with and without inputs.
#[derive(Debug, Default)]
pub struct PipelineProgress {
    turns: AtomicU64,
    /// It puts records into the queue, and waits for room there as long as others leave it.
    is_in_queue: AtomicBool,
    is_given_up: AtomicBool,
}

impl PipelineProgress {
    pub fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub fn in_queue<T>(&self, append: impl FnOnce() -> T) -> T {
        self.is_in_queue.store(true, Ordering::Release);
        let done = append();
        self.is_in_queue.store(false, Ordering::Release);
        done
    }

    /// Another pipeline has taken its place: it must not touch what both share.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }

    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Release);
    }

    /// Returns when the pipeline has made no progress: no turn, no call into its adapter has ended, and the queue
    /// that it waits for lets no record go. Checks are counted, not seconds: a
    /// process that was suspended has not waited.
    pub(super) async fn until_stuck(&self, adapter: &Stats, queue: &dyn EventQueue, times: PipelineTimes) {
        let left_queue = || {
            let status = queue.status();
            status.confirmed.saturating_add(status.dropped.values().sum())
        };
        let read = || {
            let left = self.is_in_queue.load(Ordering::Acquire).then(left_queue);
            (self.turns.load(Ordering::Relaxed), adapter.snapshot().calls, left)
        };
        let (mut last, mut same) = (read(), 0);
        while same < times.checks {
            sleep(times.check_every).await;
            let now = read();
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
    }
}

/// Threads that were given up and have not ended: Rust cannot end them.
#[derive(Debug, Default)]
pub struct HangingPipelines(Mutex<Vec<JoinHandle<()>>>);

impl HangingPipelines {
    pub(super) fn add(&self, thread: JoinHandle<()>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    pub fn count(&self) -> usize {
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.len()
    }

    /// No further pipeline may be given up: each holds its inputs and its adapter.
    pub fn is_full(&self) -> bool {
        self.count() >= HANGING_PIPELINES_MAX
    }
}
