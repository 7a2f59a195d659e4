//! State shared by all tasks of a feed, and the gate that holds connections back until every reference poll
//! had its first answer or failure, or a timeout.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use marketprism_service::LogLimit;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::budgets::Budgets;
use crate::counters::{Counters, SocketCounter};
use crate::dial::Dialer;
use crate::event::SocketEvent;
use crate::inputs::{InputRefusal, InputSender};
use crate::limits::BEHIND_EVERY;
use crate::options::SocketOptions;
use crate::renewals::Renewals;

#[derive(Debug)]
pub(crate) struct FeedContext {
    pub(crate) options: Arc<SocketOptions>,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) budgets: Budgets,
    pub(crate) inputs: InputSender,
    pub(crate) behind: Arc<BehindWatch>,
    /// Held while a connection reads and delivers a large message.
    pub(crate) large_messages: Arc<Semaphore>,
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
            Err(InputRefusal::Closed) => return Err(NotDelivered),
            Err(InputRefusal::Full(input)) => input,
        };
        self.counters.count(SocketCounter::Stalls);
        let began = Instant::now();
        let _waiting = self.behind.wait(began);
        let given_up = async {
            self.stop.cancelled().await;
            tokio::time::sleep(self.options.close_timeout).await;
        };
        let sending = self.inputs.send(input);
        tokio::pin!(given_up, sending);
        let mut behind = interval_at(began + BEHIND_EVERY, BEHIND_EVERY);
        behind.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let taken = loop {
            tokio::select! {
                biased;
                sent = &mut sending => break sent.map_err(|_| NotDelivered),
                () = &mut given_up => break Err(NotDelivered),
                _ = behind.tick() => self.behind.report(self.inputs.queued_bytes()),
            }
        };
        let waited = began.elapsed();
        let waited_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.counters.add(SocketCounter::StalledMicroseconds, waited_us);
        taken.map(|()| waited)
    }
}

/// Time since when a socket of the feed has been waiting for its pipeline.
#[derive(Debug, Default)]
pub(crate) struct BehindWatch(Mutex<BehindState>);

#[derive(Debug, Default)]
struct BehindState {
    waiting: usize,
    since: Option<Instant>,
    lines: LogLimit,
}

#[derive(Debug)]
pub(crate) struct BehindWait<'a>(&'a BehindWatch);

impl BehindWatch {
    fn change<R>(&self, change: impl FnOnce(&mut BehindState) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wait(&self, now: Instant) -> BehindWait<'_> {
        self.change(|state| {
            state.waiting += 1;
            state.since.get_or_insert(now);
        });
        BehindWait(self)
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        self.change(|state| state.since)
    }

    fn report(&self, queued_bytes: usize) {
        let now = Instant::now();
        let line = self.change(|state| state.lines.allow(now.into_std()).zip(state.since));
        if let Some((held_back, since)) = line {
            let behind = now - since;
            tracing::warn!(
                ?behind,
                queued_bytes,
                held_back,
                "the pipeline is behind: its sockets read nothing"
            );
        }
    }
}

impl Drop for BehindWait<'_> {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.waiting = state.waiting.saturating_sub(1);
            if state.waiting == 0 {
                state.since = None;
            }
        });
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
