//! Cancels queries whose client has disconnected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use super::Engine;
use super::connection::{mark, quoted};

/// Cancelling is repeated after this time: the first attempt misses a query that the engine has not
/// registered yet.
const REPEAT_AFTER: Duration = Duration::from_millis(200);

/// State of one query, shared by the pool and the client's side.
#[derive(Debug, Default)]
pub struct JobState {
    number: u64,
    cancelled: AtomicBool,
    done: AtomicBool,
}

impl JobState {
    pub(super) fn new(number: u64) -> Arc<JobState> {
        Arc::new(JobState { number, ..JobState::default() })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    pub(super) fn finish(&self) {
        self.done.store(true, Ordering::Release);
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }
}

/// Held by the client's side of a query. Dropping it before the query has ended cancels the query.
pub struct CancelGuard {
    state: Arc<JobState>,
    orders: SyncSender<Arc<JobState>>,
}

impl CancelGuard {
    pub(super) fn new(state: Arc<JobState>, orders: SyncSender<Arc<JobState>>) -> Self {
        CancelGuard { state, orders }
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if self.state.is_done() {
            return;
        }
        self.state.cancelled.store(true, Ordering::Release);
        // Never full: the channel has a place for every running and waiting query.
        if let Err(TrySendError::Full(state)) = self.orders.try_send(Arc::clone(&self.state)) {
            tracing::warn!(request = state.number, "cancel queue is full; the query runs to its end");
        }
    }
}

/// Body of the cancelling thread; ends with the last sender.
pub(super) fn run(engine: &Engine, orders: &Receiver<Arc<JobState>>) {
    let mut stopping: Vec<Arc<JobState>> = Vec::new();
    loop {
        let wait = if stopping.is_empty() { Duration::from_secs(3600) } else { REPEAT_AFTER };
        match orders.recv_timeout(wait) {
            Ok(state) => stopping.push(state),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        stopping.extend(orders.try_iter());
        stopping.retain(|state| !state.is_done());
        if stopping.is_empty() {
            continue;
        }
        let Some(mut connection) = engine.connect() else {
            tracing::error!("cannot cancel queries: the engine opened no connection");
            continue;
        };
        for state in &stopping {
            let mark = quoted(&mark(state.number), '\'');
            let text = format!("KILL QUERY WHERE endsWith(Settings['log_comment'], {mark}) ASYNC");
            match connection.plain(&text, "Null") {
                Ok(_) => tracing::debug!(request = state.number, "client disconnected, query cancelled"),
                Err(error) => tracing::warn!(request = state.number, %error, "cannot cancel a query"),
            }
        }
    }
}
