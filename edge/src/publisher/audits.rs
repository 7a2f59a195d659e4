//! The task that closes windows and brings their audits to the broker.

use marketprism_service::Backoff;
use std::sync::Arc;
use std::time::Instant;

use async_nats::client::RequestErrorKind;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{Client, HeaderMap, HeaderValue, Request};
use marketprism_schema::{
    AUDIT_PART_BYTES, Audit, AuditError, audit_message_id, audit_subject, encode_audit,
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::audit_outbox::{AuditOutbox, PendingAudit};
use crate::audit::Auditor;
use crate::broker::{BrokerLink, PublishReply};
use crate::clock;
use crate::limits::{
    AUDIT_ACK, AUDIT_BACKOFF, AUDIT_CLOSE_EVERY, AUDIT_CLOSE_MAX, AUDIT_DRAIN, AUDIT_OUTBOX_BYTES,
    AUDIT_OUTBOX_MESSAGES,
};
use crate::queue::EventQueue;
use crate::telemetry::{LogLimit, Metrics, follow, gauge};

/// What came of one try to store a message.
enum AuditSendResult {
    Stored,
    Again(String),
    Never(String),
}

/// Closes windows and brings their audits to the broker.
pub struct AuditSender {
    client: Client,
    link: Arc<BrokerLink>,
    journal: Arc<dyn EventQueue>,
    auditor: Arc<Auditor>,
    metrics: Metrics,
    subject: String,
    outbox: AuditOutbox,
    /// Not before.
    again_at: Instant,
    backoff: Backoff,
    troubles: LogLimit,
    losses: LogLimit,
    lost_windows: u64,
}

impl AuditSender {
    /// A sender for the audits of an edge.
    #[must_use]
    pub fn new(
        client: Client,
        link: Arc<BrokerLink>,
        journal: Arc<dyn EventQueue>,
        auditor: Arc<Auditor>,
        metrics: Metrics,
        edge: &str,
    ) -> Self {
        Self {
            client,
            link,
            journal,
            auditor,
            metrics,
            subject: audit_subject(edge),
            outbox: AuditOutbox::new(AUDIT_OUTBOX_MESSAGES, AUDIT_OUTBOX_BYTES),
            again_at: Instant::now(),
            backoff: Backoff::new(AUDIT_BACKOFF.0, AUDIT_BACKOFF.1),
            troubles: LogLimit::default(),
            losses: LogLimit::default(),
            lost_windows: 0,
        }
    }

    /// Works until `stop`. By then feeds and publisher have ended; the windows up to now are closed, and what waits is sent within
    /// [`AUDIT_DRAIN`]. Gives how many messages and windows could not be.
    pub async fn run(mut self, stop: CancellationToken) -> u64 {
        let mut tick = interval(AUDIT_CLOSE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return self.finish().await,
            }
            let audits = self.auditor.close(clock::now_ns(), self.settled_ns(), AUDIT_CLOSE_MAX);
            self.enqueue(audits);
            if self.link.is_connected() && Instant::now() >= self.again_at {
                tokio::select! {
                    () = self.send() => {}
                    () = stop.cancelled() => {}
                }
            }
            self.tell();
        }
    }

    /// Nothing received before is under way. The frontier is read first: what is before it is in the journal.
    fn settled_ns(&self) -> i64 {
        let frontier_ns = self.auditor.frontier_ns();
        self.journal.oldest_pending_ns().map_or(frontier_ns, |pending_ns| pending_ns.min(frontier_ns))
    }

    fn enqueue(&mut self, audits: Vec<Audit>) {
        for audit in audits {
            if let Err(error) = self.enqueue_one(audit) {
                // Cannot be: every value of an audit can be written.
                tracing::error!(%error, "an audit is lost");
                self.metrics.audits_dropped.inc();
            }
        }
    }

    fn enqueue_one(&mut self, audit: Audit) -> Result<(), AuditError> {
        let window_start = audit.window_start;
        let mut pushed_out = 0;
        for part in audit.into_parts(AUDIT_PART_BYTES)? {
            let encoded = encode_audit(&part)?;
            let message_id = audit_message_id(&part, &encoded);
            let since_ns = clock::now_ns();
            pushed_out += self.outbox.push(PendingAudit { message_id, payload: encoded.into(), since_ns });
        }
        if pushed_out > 0 {
            self.metrics.audits_dropped.inc_by(pushed_out);
            if let Some(held_back) = self.losses.allow(Instant::now()) {
                tracing::error!(
                    pushed_out,
                    window_start,
                    held_back,
                    "too many audits wait for the broker, the oldest are lost: their windows cannot be verified"
                );
            }
        }
        Ok(())
    }

    /// Sends what waits, one after the other, until one is not taken.
    async fn send(&mut self) {
        while let Some(message) = self.outbox.first().cloned() {
            match self.send_one(&message).await {
                AuditSendResult::Stored => {
                    self.outbox.pop();
                    self.metrics.audits_sent.inc();
                    self.backoff.reset();
                }
                AuditSendResult::Never(text) => {
                    self.outbox.pop();
                    self.metrics.audits_dropped.inc();
                    tracing::error!(text, id = message.message_id, "the broker refuses an audit, it is lost");
                }
                AuditSendResult::Again(text) => {
                    self.again_at = Instant::now() + self.backoff.pause();
                    if let Some(held_back) = self.troubles.allow(Instant::now()) {
                        let subject = &self.subject;
                        tracing::warn!(text, subject, held_back, "an audit is not stored yet, trying again");
                    }
                    return;
                }
            }
        }
    }

    async fn send_one(&self, message: &PendingAudit) -> AuditSendResult {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, HeaderValue::from(message.message_id.as_str()));
        let request =
            Request::new().payload(message.payload.clone()).headers(headers).timeout(Some(AUDIT_ACK));
        match timeout(AUDIT_ACK * 2, self.client.send_request(self.subject.clone(), request)).await {
            Ok(Ok(answer)) => {
                match PublishReply::parse(&answer.payload, answer.status.map(|status| status.as_u16())) {
                    PublishReply::Stored { .. } => AuditSendResult::Stored,
                    PublishReply::Rejected { text } => AuditSendResult::Never(text.into_owned()),
                    PublishReply::Refused { text } => AuditSendResult::Again(text.into_owned()),
                    PublishReply::NoStream => AuditSendResult::Again(no_stream()),
                }
            }
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                AuditSendResult::Again(no_stream())
            }
            Ok(Err(error)) => AuditSendResult::Again(error.to_string()),
            Err(_elapsed) => AuditSendResult::Again("the client takes no message".to_owned()),
        }
    }

    /// Brings what is known to the metrics and to `/health`.
    fn tell(&mut self) {
        let since_ns = self.outbox.first().map(|message| message.since_ns);
        let waiting = u64::try_from(self.outbox.len()).unwrap_or(u64::MAX);
        self.auditor.set_waiting(waiting, since_ns);
        self.metrics.audits_pending.set(gauge(waiting));
        let status = self.auditor.status();
        follow(&self.metrics.audit_late, status.late);
        if status.dropped > self.lost_windows {
            let windows = status.dropped - self.lost_windows;
            self.lost_windows = status.dropped;
            self.metrics.audits_dropped.inc_by(windows);
            tracing::error!(
                windows,
                "too many windows are not settled, the oldest are given up: they cannot be verified"
            );
        }
    }

    async fn finish(mut self) -> u64 {
        let (audits, unsettled) = self.auditor.close_all(clock::now_ns(), self.settled_ns());
        self.enqueue(audits);
        let deadline = Instant::now() + AUDIT_DRAIN;
        while self.outbox.len() > 0 && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            // Over time: what is not stored is told below.
            let _ = timeout(left, self.send()).await;
            if self.outbox.len() > 0 {
                tokio::time::sleep(AUDIT_CLOSE_EVERY.min(left)).await;
            }
        }
        self.tell();
        let unsent = u64::try_from(self.outbox.len()).unwrap_or(u64::MAX);
        if unsent + unsettled > 0 {
            self.metrics.audits_dropped.inc_by(unsent + unsettled);
            tracing::error!(
                unsent,
                unsettled,
                "stopped before every audit was stored: those windows cannot be verified"
            );
        }
        unsent + unsettled
    }
}

fn no_stream() -> String {
    "no stream stores audits: run `marketprism-central init` to create it".to_owned()
}
