//! State shared by all tasks of a feed, and the gate that holds connections back until every reference poll
//! had its first answer or failure, or a timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::budgets::Budgets;
use crate::counters::{Counters, SocketCounter};
use crate::event::SocketEvent;
use crate::options::SocketOptions;
use crate::renewals::Renewals;

#[derive(Debug)]
pub(crate) struct FeedContext {
    pub(crate) options: Arc<SocketOptions>,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) budgets: Budgets,
    pub(crate) inputs: mpsc::Sender<SocketEvent>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) references: ReferenceGate,
    pub(crate) renewals: Renewals,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

#[derive(Debug)]
pub(crate) struct NotDelivered;

impl FeedContext {
    /// Waits while the event queue is full and returns the time waited. While the feed stops, the wait ends
    /// after the close timeout; the caller counts what was not delivered.
    pub(crate) async fn deliver(&self, input: SocketEvent) -> Result<Duration, NotDelivered> {
        let input = match self.inputs.try_send(input) {
            Ok(()) => return Ok(Duration::ZERO),
            Err(TrySendError::Closed(_)) => return Err(NotDelivered),
            Err(TrySendError::Full(input)) => input,
        };
        self.counters.count(SocketCounter::Stalls);
        let began = Instant::now();
        let given_up = async {
            self.stop.cancelled().await;
            tokio::time::sleep(self.options.close_timeout).await;
        };
        let taken = tokio::select! {
            biased;
            sent = self.inputs.send(input) => sent.map_err(|_| NotDelivered),
            () = given_up => Err(NotDelivered),
        };
        let waited = began.elapsed();
        let waited_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.counters.add(SocketCounter::StalledMicroseconds, waited_us);
        taken.map(|()| waited)
    }
}

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

    pub(crate) async fn opened(&self) {
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
