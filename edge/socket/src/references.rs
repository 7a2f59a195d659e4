//! What must be known before connections are opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::counters::{Counted, Counters};

/// Opens when every reference poll has had its first answer or failure, or when that takes too long.
#[derive(Debug)]
pub(crate) struct References {
    done: CancellationToken,
    deadline: Instant,
    late: AtomicBool,
    counters: Arc<Counters>,
}

/// Held by a reference poll until its first answer or failure. The last one opens the gate, also when its
/// task dies.
pub(crate) type Pending = Arc<DropGuard>;

impl References {
    pub(crate) fn new(wait: Duration, counters: Arc<Counters>) -> (Self, Pending) {
        let done = CancellationToken::new();
        let pending = Arc::new(done.clone().drop_guard());
        (Self { done, deadline: Instant::now() + wait, late: AtomicBool::new(false), counters }, pending)
    }

    pub(crate) async fn known(&self) {
        tokio::select! {
            biased;
            () = self.done.cancelled() => {}
            () = sleep_until(self.deadline) => {
                if !self.late.swap(true, Ordering::Relaxed) {
                    self.counters.count(Counted::ReferencesLate);
                    tracing::warn!("no first answer of every reference poll in time, going on without");
                }
            }
        }
    }
}
