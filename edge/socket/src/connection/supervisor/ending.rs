//! What follows the end of a generation.

use tokio::task::JoinError;
use tokio::time::Instant;

use super::{Stage, Supervisor};
use crate::clock::wall_ns;
use crate::connection::open::OpenError;
use crate::connection::session::{End, Ended};
use crate::counters::Counted;
use crate::error::{BudgetError, CloseReason};
use crate::input::Input;

impl Supervisor {
    pub(super) async fn on_ended(&mut self, joined: Result<Ended, JoinError>) {
        let Some((generation, ended)) = self.identify(joined) else { return };
        let Some(gone) = self.generations.remove(&generation) else { return };
        let stopping = self.feed.stop.is_cancelled();
        if self.candidate == Some(generation) {
            self.candidate = None;
            self.takeover_at = None;
        }
        match (ended.opened, ended.end) {
            (_, End::NotOpened(error)) => self.not_opened(generation, &error),
            (None, _) => {}
            (Some(opened), end) => {
                let retired = gone.retired.is_some();
                let reason = match (gone.retired, end) {
                    (Some(reason), _) | (None, End::Closed(reason)) => reason,
                    (None, _) => CloseReason::Stopped,
                };
                if self.current == Some(generation) {
                    self.current_ended(opened);
                } else if !stopping && !retired {
                    self.open_at = Instant::now() + self.backoff.ended_after(opened.elapsed());
                }
                self.report_closed(generation, reason).await;
            }
        }
    }

    /// The serving generation ended by itself: a candidate that stands takes its place at once.
    fn current_ended(&mut self, opened: Instant) {
        self.current = None;
        self.state.not_serving();
        self.feed.renewals.cancel(self.source);
        // Whatever the replacement was wanted for, it is no replacement any more.
        self.wanted = None;
        self.open_at = Instant::now() + self.backoff.ended_after(opened.elapsed());
        let standing = self.candidate.and_then(|candidate| self.generations.get(&candidate));
        if standing.is_some_and(|candidate| candidate.stage != Stage::Opening) {
            self.take_over();
        }
    }

    fn not_opened(&mut self, generation: u64, error: &OpenError) {
        let mut wait = self.backoff.failed();
        let counted = match error {
            OpenError::Tcp { .. } => Counted::ConnectFailedTcp,
            OpenError::Tls { .. } => Counted::ConnectFailedTls,
            OpenError::Handshake { .. } => Counted::ConnectFailedHandshake,
            OpenError::Refused { retry_after, .. } => {
                wait = wait.max(retry_after.unwrap_or_default());
                Counted::ConnectFailedHandshake
            }
            OpenError::Budget(error) => {
                if let BudgetError::Blocked { remaining, .. } = error {
                    wait = wait.max(*remaining);
                }
                Counted::ConnectFailedBudget
            }
        };
        self.feed.counters.count(counted);
        self.state.trouble("connect_failed", error.to_string());
        tracing::warn!(connection = %self.plan.name, generation, ?wait, %error, "connect failed");
        self.open_at = Instant::now() + wait;
    }

    async fn report_closed(&mut self, generation: u64, reason: CloseReason) {
        let current = self.current.and_then(|current| self.generations.get(&current));
        let overlap = current.is_some_and(|current| current.stage == Stage::Ready);
        self.feed.counters.count(counted_of(&reason));
        self.state.trouble(reason.label(), reason.to_string());
        if is_planned(&reason) {
            tracing::info!(connection = %self.plan.name, generation, %reason, overlap, "connection closed");
        } else {
            tracing::warn!(connection = %self.plan.name, generation, %reason, overlap, "connection closed");
        }
        let source = self.source;
        let closed = Input::Closed { source, generation, reason, at_ns: wall_ns(), overlap };
        // Nobody to tell: the pipeline is gone, and with it whoever would care.
        let _ = self.feed.deliver(closed).await;
    }

    /// The generation that a finished task belonged to. A task that died is one more way to lose a
    /// connection.
    fn identify(&mut self, joined: Result<Ended, JoinError>) -> Option<(u64, Ended)> {
        let error = match joined {
            Ok(ended) => return Some((ended.generation, ended)),
            Err(error) => error,
        };
        let mut generations = self.generations.iter();
        let (generation, found) = generations.find(|(_, one)| one.task.id() == error.id())?;
        let generation = *generation;
        let opened = found.opened_at;
        if error.is_panic() {
            self.feed.counters.count(Counted::TasksDied);
            tracing::error!(connection = %self.plan.name, generation, %error, "a connection's task died");
        }
        let end = End::Closed(CloseReason::Lost(format!("task died: {error}")));
        // One that never stood still has to wait before the next try.
        self.open_at = Instant::now() + self.backoff.failed();
        Some((generation, Ended { generation, opened, end }))
    }
}

/// We ended it, with or without a replacement.
fn is_planned(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Renewed | CloseReason::Replaced(_) | CloseReason::Silent(_) | CloseReason::Stopped
    )
}

fn counted_of(reason: &CloseReason) -> Counted {
    match reason {
        CloseReason::Venue { .. } => Counted::ClosedVenue,
        CloseReason::Lost(_) => Counted::ClosedLost,
        CloseReason::Idle(_) => Counted::ClosedIdle,
        CloseReason::Protocol(_) => Counted::ClosedProtocol,
        CloseReason::TooLarge(_) => Counted::ClosedTooLarge,
        CloseReason::WriteTimeout(_) => Counted::ClosedWriteTimeout,
        CloseReason::Renewed => Counted::ClosedRenewed,
        CloseReason::Replaced(_) => Counted::ClosedReplaced,
        CloseReason::Silent(_) => Counted::ClosedSilent,
        CloseReason::Stopped => Counted::ClosedStopped,
    }
}
