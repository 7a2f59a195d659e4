//! Holds connections back until every reference poll had its first answer or failure, or a timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::counters::{Counters, SocketCounter};

#[derive(Debug)]
pub(crate) struct ReferenceGate {
    done: CancellationToken,
    deadline: Instant,
    late: AtomicBool,
    counters: Arc<Counters>,
}

/// Held by a reference poll until its first answer or failure; the last one opens the gate, even if its
/// task panics.
pub(crate) type ReferencePending = Arc<DropGuard>;

impl ReferenceGate {
    pub(crate) fn new(wait: Duration, counters: Arc<Counters>) -> (Self, ReferencePending) {
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
                    self.counters.count(SocketCounter::ReferencesLate);
                    tracing::warn!("reference polls without a first answer at the deadline: connecting anyway");
                }
            }
        }
    }
}
