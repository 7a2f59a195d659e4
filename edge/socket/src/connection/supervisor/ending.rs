//! Reacts to the end of a generation.

use marketprism_service::clock::now_ns;
use tokio::task::JoinError;
use tokio::time::{Duration, Instant};

use super::{ConnectionSupervisor, GenerationStage};
use crate::connection::open::OpenError;
use crate::connection::session::{SessionEnd, SessionEndCause};
use crate::counters::SocketCounter;
use crate::error::{BudgetError, CloseReason};
use crate::event::SocketEvent;

impl ConnectionSupervisor {
    pub(super) async fn on_ended(&mut self, joined: Result<SessionEnd, JoinError>) {
        let Some((generation, ended)) = self.identify(joined) else { return };
        let Some(gone) = self.generations.remove(&generation) else { return };
        let stopping = self.feed.stop.is_cancelled();
        if self.candidate == Some(generation) {
            self.candidate = None;
            self.takeover_at = None;
        }
        match (ended.opened, ended.end) {
            (_, SessionEndCause::NotOpened(error)) => self.not_opened(generation, &error),
            (None, _) => {}
            (Some(opened), end) => {
                let retired = gone.retired.is_some();
                let reason = match (gone.retired, end) {
                    (Some(reason), _) | (None, SessionEndCause::Closed(reason)) => reason,
                    (None, _) => CloseReason::Stopped,
                };
                if self.current == Some(generation) {
                    self.current_ended(opened);
                } else if !stopping && !retired {
                    self.open_at = Instant::now() + self.pause_after(opened);
                }
                self.report_closed(generation, reason).await;
            }
        }
    }

    /// An open candidate takes over at once.
    fn pause_after(&mut self, opened: Instant) -> Duration {
        self.backoff.pause_after(opened.elapsed(), self.feed.options.backoff.healthy_after)
    }

    fn current_ended(&mut self, opened: Instant) {
        self.current = None;
        self.state.not_serving();
        self.feed.renewals.cancel(self.source);
        // The candidate is now the only generation, not a replacement.
        self.replacement_reason = None;
        self.open_at = Instant::now() + self.pause_after(opened);
        let standing = self.candidate.and_then(|candidate| self.generations.get(&candidate));
        if standing.is_some_and(|candidate| candidate.stage != GenerationStage::Opening) {
            self.take_over();
        }
    }

    fn not_opened(&mut self, generation: u64, error: &OpenError) {
        let mut wait = self.backoff.pause();
        let counted = match error {
            OpenError::Tcp { .. } => SocketCounter::ConnectFailedTcp,
            OpenError::Tls { .. } => SocketCounter::ConnectFailedTls,
            OpenError::Handshake { .. } => SocketCounter::ConnectFailedHandshake,
            OpenError::Refused { retry_after, .. } => {
                wait = wait.max(retry_after.unwrap_or_default());
                SocketCounter::ConnectFailedHandshake
            }
            OpenError::Budget(error) => {
                if let BudgetError::Blocked { remaining, .. } = error {
                    wait = wait.max(*remaining);
                }
                SocketCounter::ConnectFailedBudget
            }
        };
        self.feed.counters.count(counted);
        self.state.record_failure("connect_failed", error.to_string());
        tracing::warn!(connection = %self.plan.name, generation, ?wait, %error, "connect failed");
        self.open_at = Instant::now() + wait;
    }

    async fn report_closed(&mut self, generation: u64, reason: CloseReason) {
        let current = self.current.and_then(|current| self.generations.get(&current));
        let overlap = current.is_some_and(|current| current.stage == GenerationStage::Ready);
        self.feed.counters.count(reason.counter());
        self.state.record_failure(reason.label(), reason.to_string());
        if reason.is_planned() {
            tracing::info!(connection = %self.plan.name, generation, %reason, overlap, "connection closed");
        } else {
            tracing::warn!(connection = %self.plan.name, generation, %reason, overlap, "connection closed");
        }
        let source = self.source;
        let closed = SocketEvent::Closed { source, generation, reason, at_ns: now_ns(), overlap };
        // An error means that the pipeline is gone.
        let _ = self.feed.deliver(closed).await;
    }

    /// A panicked task counts as a lost connection.
    fn identify(&mut self, joined: Result<SessionEnd, JoinError>) -> Option<(u64, SessionEnd)> {
        let error = match joined {
            Ok(ended) => return Some((ended.generation, ended)),
            Err(error) => error,
        };
        let mut generations = self.generations.iter();
        let (generation, found) = generations.find(|(_, one)| one.task.id() == error.id())?;
        let generation = *generation;
        let opened = found.opened_at;
        if error.is_panic() {
            self.feed.counters.count(SocketCounter::TasksDied);
            tracing::error!(connection = %self.plan.name, generation, %error, "connection task panicked");
        }
        let end = SessionEndCause::Closed(CloseReason::Lost(format!("task panicked: {error}")));
        // Back off also if it never opened.
        self.open_at = Instant::now() + self.backoff.pause();
        Some((generation, SessionEnd { generation, opened, end }))
    }
}
