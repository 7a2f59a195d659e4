//! Closes windows and publishes their audits, one by one and in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use futures_util::future::BoxFuture;
use marketprism_schema::{Audit, AuditError, audit_subject};
use marketprism_service::{Backoff, LogLimit, clock};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::audit_request::{AnsweredAudit, next_ack_wait, publish_audit};
use super::checkpoint_pace::CheckpointPace;
use super::edge_health::HealthTaker;
use super::outbox::{AuditOutbox, PendingAudit};
use super::run_writer::RunWriter;
use super::stored_audits::StoredAudits;
use crate::audit::{
    AuditCheckpoint, Auditor, CleanStop, JournaledRun, RecoveredAudits, RunJournal, UnfinishedRun,
    UnsentMessage, encode_changes, encode_downtime, encode_listing, encode_recovered, encode_window,
};
use crate::broker::{BrokerLink, PublishReply};
use crate::clocks::VenueClocks;
use crate::journal::Journal;
use crate::limits::{
    AUDIT_ACK, AUDIT_BACKOFF, AUDIT_CLOSE_EVERY, AUDIT_CLOSE_MAX, AUDIT_DRAIN, AUDIT_OUTBOX_BYTES,
    AUDIT_OUTBOX_MESSAGES, AUDIT_STORED_BYTES, AUDIT_STORED_MESSAGES, JOURNAL_CLOSE,
};
use crate::queue::EventQueue;
use crate::telemetry::{Metrics, follow, gauge};

pub(super) const STREAM: &str = "AUDIT";

type AuditRequest = BoxFuture<'static, AnsweredAudit>;

/// Never ends if there is none.
async fn answer_of(request: &mut Option<AuditRequest>) -> AnsweredAudit {
    match request {
        Some(request) => request.await,
        None => std::future::pending().await,
    }
}

pub struct AuditSender {
    client: Client,
    link: Arc<BrokerLink>,
    queue: Arc<dyn EventQueue>,
    auditor: Arc<Auditor>,
    metrics: Metrics,
    subject: String,
    outbox: AuditOutbox,
    stored: StoredAudits,
    /// Losses of the broker that the journal has seen.
    broker_losses: u64,
    retry_at: Instant,
    /// First publish of the audit that is sent now.
    first_sent: Option<Instant>,
    backoff: Backoff,
    /// Wait for an acknowledgement; longer over a link that needs more for one.
    ack_wait: Duration,
    retry_lines: LogLimit,
    loss_lines: LogLimit,
    lost_windows: u64,
    runs: Option<RunWriter>,
    /// Messages that the journal of runs holds until they are stored: those of earlier runs, and changes.
    journaled: usize,
    /// There are more of them than it holds.
    has_new_kept: bool,
    /// Killed runs whose audits the broker does not have yet.
    killed: Vec<UnfinishedRun>,
    /// Those of them whose messages are in the outbox, with the number of messages sent when the broker has them.
    recovering: Vec<(i64, usize)>,
    journal: Option<Arc<Journal>>,
    checkpoints: CheckpointPace,
    /// Messages that left the outbox.
    sent: usize,
    health: HealthTaker,
}

impl AuditSender {
    pub fn new(
        client: Client,
        link: Arc<BrokerLink>,
        queue: Arc<dyn EventQueue>,
        auditor: Arc<Auditor>,
        metrics: Metrics,
        edge: &str,
    ) -> Self {
        Self {
            client,
            link,
            queue,
            auditor,
            metrics,
            subject: audit_subject(edge),
            outbox: AuditOutbox::new(AUDIT_OUTBOX_MESSAGES, AUDIT_OUTBOX_BYTES),
            stored: StoredAudits::new(AUDIT_STORED_MESSAGES, AUDIT_STORED_BYTES),
            broker_losses: 0,
            retry_at: Instant::now(),
            first_sent: None,
            backoff: Backoff::new(AUDIT_BACKOFF.0, AUDIT_BACKOFF.1),
            ack_wait: AUDIT_ACK,
            retry_lines: LogLimit::default(),
            loss_lines: LogLimit::default(),
            lost_windows: 0,
            runs: None,
            journaled: 0,
            has_new_kept: false,
            killed: Vec::new(),
            recovering: Vec::new(),
            journal: None,
            checkpoints: CheckpointPace::new(),
            sent: 0,
            health: HealthTaker::default(),
        }
    }

    /// Sends the messages of earlier runs first, and keeps in `runs` what the broker has not stored at the end of this run.
    pub fn with_runs(mut self, runs: RunJournal, run: JournaledRun) -> Self {
        self.runs = Some(RunWriter::new(runs, run.run_ns, JOURNAL_CLOSE));
        (self.journaled, self.killed) = (run.unsent.len(), run.killed);
        self.enqueue_messages(run.unsent, true);
        self.has_new_kept = false;
        self
    }

    /// Keeps in the journal what a killed run is audited from.
    pub fn with_journal(self, journal: Option<Arc<Journal>>) -> Self {
        Self { journal, ..self }
    }

    /// Tells offsets and steps of this machine's clock.
    pub fn with_clocks(mut self, clocks: Arc<VenueClocks>) -> Self {
        self.health.clocks = Some(clocks);
        self
    }

    /// Runs until `stop`, which comes after the end of feeds and publisher; then closes all windows and sends their audits within
    /// [`AUDIT_DRAIN`]. Returns the number of messages and windows that are lost.
    pub async fn run(mut self, stop: CancellationToken) -> u64 {
        let mut tick = interval(AUDIT_CLOSE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A broker that does not answer holds up neither windows nor checkpoints.
        let mut request: Option<AuditRequest> = None;
        loop {
            tokio::select! {
                _ = tick.tick() => self.close_windows().await,
                answered = answer_of(&mut request) => {
                    request = None;
                    self.answered(answered);
                }
                () = stop.cancelled() => return self.finish().await,
            }
            if request.is_none() && Instant::now() >= self.retry_at {
                request = self.next_request();
            }
            self.forget_sent().await;
            self.update_status();
        }
    }

    async fn close_windows(&mut self) {
        let audits = self.auditor.close(clock::now_ns(), self.settled_ns(), AUDIT_CLOSE_MAX);
        self.enqueue(audits);
        self.enqueue_news();
        self.follow_broker_losses();
        self.keep_changes().await;
        self.checkpoint();
    }

    /// No record received before is waiting or in flight. The frontier is read first: records before it are in the queue.
    fn settled_ns(&self) -> i64 {
        let frontier_ns = self.auditor.frontier_ns();
        self.queue.oldest_pending_ns().map_or(frontier_ns, |pending_ns| pending_ns.min(frontier_ns))
    }

    /// Tells the journal what it does not hold of the open windows.
    fn checkpoint(&mut self) {
        let Some(journal) = &self.journal else { return };
        if !self.checkpoints.is_due(self.queue.oldest_pending_ns(), journal.max_bytes()) {
            return;
        }
        // First: what was received before is in the journal by now.
        let known_to_ns = self.auditor.frontier_ns().min(clock::now_ns());
        let unsent_since_ns = self.outbox.first_window_ns();
        let bytes = journal.checkpoint(|is_full| {
            let checkpoint = self.auditor.checkpoint(is_full, known_to_ns)?;
            Some(AuditCheckpoint { unsent_since_ns, ..checkpoint })
        });
        self.checkpoints.wrote(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Audits of killed runs that are complete, and the times that they do not cover.
    fn enqueue_recovered(&mut self) {
        for RecoveredAudits { run_ns, audits, downtimes, unsent } in self.auditor.take_recovered() {
            let from_ns = audits.first().map_or(i64::MAX, |audit| audit.window_start);
            let windows = audits.len();
            let messages = encode_recovered(audits, downtimes);
            if let Some(journal) = self.journal.as_ref().filter(|_| !messages.is_empty()) {
                journal.keep_audit(run_ns, (from_ns, i64::MAX), &messages);
            }
            tracing::info!(run_ns, windows, "audits of a killed run recovered from the journal");
            self.enqueue_messages(unsent, false);
            self.enqueue_messages(messages, false);
            self.recovering.push((run_ns, self.sent.saturating_add(self.outbox.len())));
        }
    }

    /// The newest of the audits holds the edge's own facts since the audit before.
    fn enqueue(&mut self, mut audits: Vec<Audit>) {
        if let Some(newest) = audits.last_mut() {
            newest.health = self.health.take(&self.metrics);
        }
        for audit in audits {
            if let Err(error) = self.enqueue_one(audit) {
                // Unreachable: every audit can be encoded.
                tracing::error!(%error, "audit not encoded, it is lost");
                self.metrics.audits_dropped.inc();
            }
        }
    }

    /// Downtimes, listings and changes since the last call, and audits of killed runs.
    fn enqueue_news(&mut self) {
        for downtime in self.auditor.take_downtimes() {
            self.enqueue_encoded(encode_downtime(downtime), false);
        }
        for listing in self.auditor.take_listings() {
            self.enqueue_encoded(encode_listing(listing), false);
        }
        for changes in self.auditor.take_changes() {
            self.enqueue_encoded(encode_changes(&changes), true);
        }
        self.enqueue_recovered();
    }

    fn enqueue_encoded(&mut self, encoded: Result<Vec<UnsentMessage>, AuditError>, is_kept: bool) {
        match encoded {
            Ok(messages) => self.enqueue_messages(messages, is_kept),
            // Unreachable: all of them can be encoded.
            Err(error) => tracing::error!(%error, "message of the audits not encoded, it is lost"),
        }
    }

    fn enqueue_messages(&mut self, messages: Vec<UnsentMessage>, is_kept: bool) {
        self.has_new_kept |= is_kept && !messages.is_empty();
        for message in messages {
            let message = PendingAudit::new(message, i64::MAX, is_kept);
            self.metrics.audits_dropped.inc_by(self.outbox.push(message));
        }
    }

    fn enqueue_one(&mut self, audit: Audit) -> Result<(), AuditError> {
        let (run_ns, window_start, to_ns) = (audit.run, audit.window_start, audit.to);
        let messages = encode_window(audit)?;
        if let Some(journal) = &self.journal {
            journal.keep_audit(run_ns, (window_start, to_ns), &messages);
        }
        let messages = messages.into_iter().map(|message| PendingAudit::new(message, window_start, false));
        let dropped: u64 = messages.map(|message| self.outbox.push(message)).sum();
        if dropped > 0 {
            self.metrics.audits_dropped.inc_by(dropped);
            if let Some(held_back) = self.loss_lines.allow(Instant::now()) {
                tracing::error!(
                    dropped,
                    window_start,
                    held_back,
                    "too many audits wait for the broker: the oldest were dropped, their windows cannot be verified"
                );
            }
        }
        Ok(())
    }

    /// A broker that lost events has lost audits too, those of earlier runs included. Without a journal nobody else follows its losses.
    fn follow_broker_losses(&mut self) {
        let earlier = self.auditor.take_earlier_audits();
        let is_late = !earlier.is_empty() && self.broker_losses > 0;
        let earlier = earlier.into_iter().map(|message| PendingAudit::new(message, i64::MAX, false));
        self.stored.add_earlier(earlier);
        let is_new = match &self.journal {
            Some(journal) => {
                let seen = journal.broker_losses();
                std::mem::replace(&mut self.broker_losses, seen) < seen
            }
            None => self.link.take_loss().is_some(),
        };
        if is_new || is_late {
            self.metrics.audits_dropped.inc_by(self.stored.lose());
        }
        self.send_again();
    }

    /// Central replaces what it has already.
    fn send_again(&mut self) {
        let mut audits = 0_u64;
        while let Some(message) = self.stored.next_lost(|bytes| self.outbox.has_room(bytes)) {
            self.has_new_kept |= message.is_kept;
            self.outbox.push(PendingAudit { since_ns: clock::now_ns(), ..message });
            audits += 1;
        }
        if audits > 0 {
            let waiting = self.stored.lost();
            tracing::warn!(audits, waiting, "the broker lost messages: audits are sent again");
        }
    }

    /// Sends the waiting audits until one fails.
    async fn send(&mut self) {
        while let Some(request) = self.next_request() {
            if !self.answered(request.await) {
                return;
            }
        }
    }

    /// The publish of the oldest waiting audit.
    fn next_request(&mut self) -> Option<AuditRequest> {
        let message = self.outbox.first().filter(|_| self.link.may_publish())?.clone();
        self.first_sent.get_or_insert_with(Instant::now);
        let (client, link) = (self.client.clone(), Arc::clone(&self.link));
        Some(Box::pin(publish_audit(client, link, self.subject.clone(), message, self.ack_wait)))
    }

    /// False: it is to be sent again, after a pause.
    fn answered(&mut self, AnsweredAudit { message_id, reply, took }: AnsweredAudit) -> bool {
        self.ack_wait = next_ack_wait(self.ack_wait, took);
        // A full outbox may have dropped it meanwhile.
        let is_first = self.outbox.first().is_some_and(|first| first.message_id == message_id);
        let mut stored_at = None;
        match reply {
            PublishReply::Stored { duplicate, sequence } => {
                stored_at = (!duplicate).then_some(sequence);
                self.link.stalls().acknowledged(STREAM, Instant::now());
                self.metrics.audits_sent.inc();
                self.backoff.reset();
            }
            PublishReply::Rejected { text } => {
                self.metrics.audits_dropped.inc();
                tracing::error!(%text, id = message_id, "audit rejected by the broker, it is lost");
            }
            PublishReply::NoStream => return self.refused(&self.link.no_stream(STREAM)),
            PublishReply::Foreign { text } | PublishReply::Refused { text } => return self.refused(&text),
        }
        self.first_sent = None;
        if is_first && let Some(message) = self.outbox.pop() {
            self.sent += 1;
            if let Some(sequence) = stored_at {
                self.metrics.audits_dropped.inc_by(self.stored.add(message, sequence));
                self.send_again();
            }
        }
        true
    }

    fn refused(&mut self, text: &str) -> bool {
        self.link.stalls().refused(STREAM, text);
        self.retry_at = Instant::now() + self.backoff.pause();
        if let Some(held_back) = self.retry_lines.allow(Instant::now()) {
            let subject = &self.subject;
            tracing::warn!(text, subject, held_back, "audit not stored, it will be sent again");
        }
        false
    }

    fn update_status(&mut self) {
        let since_ns = self.outbox.first().map(|message| message.since_ns);
        let waiting = u64::try_from(self.outbox.len()).unwrap_or(u64::MAX);
        self.auditor.set_waiting(waiting, since_ns);
        self.metrics.audits_pending.set(gauge(waiting));
        let sent = self.first_sent.filter(|_| self.link.may_publish());
        let stalled = self.link.stalls().update(STREAM, sent, Instant::now());
        self.metrics.unacknowledged.with_label_values(&[STREAM]).set(gauge(stalled));
        let status = self.auditor.status();
        follow(&self.metrics.audit_late, status.late);
        if status.dropped > self.lost_windows {
            let windows = status.dropped - self.lost_windows;
            self.lost_windows = status.dropped;
            self.metrics.audits_dropped.inc_by(windows);
            tracing::error!(
                windows,
                "too many windows are open: the oldest were given up and cannot be verified"
            );
        }
    }

    /// Takes out of the journal of runs what the broker has stored.
    async fn forget_sent(&mut self) {
        let sent = self.sent;
        let is_stored = |(_, after): &(i64, usize)| *after <= sent;
        let has_sent_kept = self.journaled > 0 && self.outbox.kept() == 0;
        if !has_sent_kept && !self.recovering.iter().any(is_stored) {
            return;
        }
        let stored: Vec<i64> =
            self.recovering.iter().filter(|run| is_stored(run)).map(|(run_ns, _)| *run_ns).collect();
        self.recovering.retain(|run| !is_stored(run));
        self.killed.retain(|run| !stored.contains(&run.run_ns));
        self.keep_kept().await;
    }

    /// Writes new changes into the journal of runs before they are sent.
    async fn keep_changes(&mut self) {
        if self.has_new_kept {
            self.keep_kept().await;
        }
    }

    async fn keep_kept(&mut self) {
        self.journaled = self.outbox.kept();
        // A failed write is tried again.
        self.has_new_kept = !self.keep(None, self.outbox.unsent(false)).await && self.runs.is_some();
    }

    /// Writes the journal of runs; true if it holds the messages now.
    async fn keep(&mut self, stop: Option<CleanStop>, unsent: Vec<UnsentMessage>) -> bool {
        let Some(writer) = &mut self.runs else { return false };
        // Windows and checkpoints do not wait for a disk that hangs; a stop does.
        let earlier = if stop.is_some() { JOURNAL_CLOSE } else { Duration::ZERO };
        let (lasting, killed) = (self.auditor.lasting_downtimes(), self.killed.clone());
        let run = JournaledRun { run_ns: writer.run_ns, stop, unsent, lasting, killed };
        writer.write(run, earlier).await
    }

    async fn finish(mut self) -> u64 {
        let stop_ns = clock::now_ns();
        let (audits, unsettled) = self.auditor.close_all(stop_ns, self.settled_ns());
        self.enqueue(audits);
        self.enqueue_news();
        // From here on the journal of runs keeps their messages.
        for (run_ns, _) in std::mem::take(&mut self.recovering) {
            self.killed.retain(|run| run.run_ns != run_ns);
        }
        let last_words = self.auditor.last_words(stop_ns);
        let streams = last_words.iter().flat_map(|downtime| &downtime.streams).map(ToString::to_string);
        let cause = self.auditor.stop_cause();
        let stop = CleanStop { at_ns: stop_ns, streams: streams.collect(), cause };
        for downtime in last_words {
            self.enqueue_encoded(encode_downtime(downtime), false);
        }
        // A kill while the messages are sent leaves them in the journal.
        self.keep(Some(stop.clone()), self.outbox.unsent(true)).await;
        let deadline = Instant::now() + AUDIT_DRAIN;
        while self.outbox.len() > 0 && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            // What is not stored in time is reported below.
            let _ = timeout(left, self.send()).await;
            if self.outbox.len() > 0 {
                tokio::time::sleep(AUDIT_CLOSE_EVERY.min(left)).await;
            }
        }
        self.update_status();
        let mut unsent = u64::try_from(self.outbox.len()).unwrap_or(u64::MAX);
        if self.keep(Some(stop), self.outbox.unsent(true)).await && unsent > 0 {
            tracing::warn!(unsent, "audits wait for the broker: the next start sends them");
            unsent = 0;
        }
        if unsent + unsettled > 0 {
            self.metrics.audits_dropped.inc_by(unsent + unsettled);
            tracing::error!(
                unsent,
                unsettled,
                "stopped before all audits were stored: their windows cannot be verified"
            );
        }
        unsent + unsettled
    }
}
