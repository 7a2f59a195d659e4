//! Publishes events: pipelined, every acknowledgement awaited. An event leaves the queue when the broker has stored the message that it is
//! in, alone or with others of its subject (`batches`), or is counted as lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, Message, PublishErrorKind};
use futures_util::StreamExt;
use marketprism_schema::{Carries, STREAMS, stream_of};
use marketprism_service::{LogLimit, clock};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::batches::{MessageBatches, MessageLimits, OutgoingMessage};
use super::hops::HopTimers;
use super::inflight::{InFlight, InFlightMessage, RetryReason};
use super::mirror::CoreMirror;
use super::traces;
use crate::audit::{Auditor, PublishOutcome, RecordOutcome};
use crate::broker::{BrokerLink, PublishReply};
use crate::config::{MirrorSettings, PublisherLimits};
use crate::limits::{IN_FLIGHT_SCAN, PUBLISH_BATCH_MAX};
use crate::queue::{Confirmation, EventQueue, QueueEntry, QueuePosition};
use crate::telemetry::{Coverage, CoverageIndex, Metrics, follow, gauge};

/// Label of connections that were made again because they answered nothing.
pub const PUBLISHER: &str = "publisher";

/// Label of events that the broker will never store.
pub const REJECTED: &str = "refused";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainResult {
    /// Events without an acknowledgement at the end.
    pub undelivered: u64,
}

pub struct Publisher {
    client: Client,
    link: Arc<BrokerLink>,
    queue: Arc<dyn EventQueue>,
    coverage: Arc<Coverage>,
    auditor: Arc<Auditor>,
    metrics: Metrics,
    batches: MessageBatches,
    window: InFlight,
    ack_timeout: Duration,
    /// Limits that a reload changes.
    limits: Option<watch::Receiver<PublisherLimits>>,
    mirror: Option<CoreMirror>,
    /// Nothing waits for more events.
    is_ending: bool,
    inbox: String,
    hops: HopTimers,
    problem_lines: LogLimit,
    /// Streams that refused a message and have stored none since.
    refusing: BTreeSet<&'static str>,
    connects_seen: u64,
    /// There may be more messages to publish again than one turn has taken.
    has_due: bool,
}

impl Publisher {
    pub fn new(
        client: Client,
        link: Arc<BrokerLink>,
        queue: Arc<dyn EventQueue>,
        coverage: Arc<Coverage>,
        auditor: Arc<Auditor>,
        metrics: Metrics,
        limits: PublisherLimits,
    ) -> Self {
        let inbox = client.new_inbox();
        Self {
            batches: MessageBatches::new(message_limits(&limits)),
            window: InFlight::new(limits.in_flight_messages, limits.in_flight_bytes, limits.ack_timeout),
            ack_timeout: limits.ack_timeout,
            limits: None,
            mirror: None,
            is_ending: false,
            hops: HopTimers::new(metrics.clone(), Arc::clone(&coverage)),
            client,
            link,
            queue,
            coverage,
            auditor,
            metrics,
            inbox,
            problem_lines: LogLimit::default(),
            refusing: BTreeSet::new(),
            connects_seen: 0,
            has_due: false,
        }
    }

    /// Follows limits that change.
    #[must_use]
    pub fn with_limits(self, limits: watch::Receiver<PublisherLimits>) -> Self {
        Self { limits: Some(limits), ..self }
    }

    /// Mirrors live events to core NATS.
    #[must_use]
    pub fn with_mirror(self, settings: watch::Receiver<MirrorSettings>) -> Self {
        let (client, link) = (self.client.clone(), Arc::clone(&self.link));
        Self { mirror: Some(CoreMirror::start(client, link, settings, self.metrics.clone())), ..self }
    }

    fn follow_limits(&mut self) {
        if let Some(mirror) = &mut self.mirror {
            mirror.update();
        }
        let Some(limits) = &mut self.limits else { return };
        if !limits.has_changed().unwrap_or_default() {
            return;
        }
        let limits = *limits.borrow_and_update();
        self.batches.set_limits(message_limits(&limits));
        let PublisherLimits { in_flight_messages, in_flight_bytes, ack_timeout, .. } = limits;
        self.window.set_limits(in_flight_messages, in_flight_bytes, ack_timeout);
        self.ack_timeout = ack_timeout;
    }

    /// Publishes until `stop`, then until the queue is empty or `drain` is over.
    pub async fn run(mut self, stop: CancellationToken, drain: Duration) -> anyhow::Result<DrainResult> {
        let replies = self.client.subscribe(format!("{}.*", self.inbox)).await?;
        let mut replies = replies.ready_chunks(2 * PUBLISH_BATCH_MAX);
        let mut scan = interval(IN_FLIGHT_SCAN);
        scan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (link, queue) = (Arc::clone(&self.link), Arc::clone(&self.queue));
        let mut drain_until: Option<Instant> = None;
        let mut more = true;
        loop {
            link.progress().turn();
            let has_room =
                self.window.room() > self.batches.len() && self.window.bytes_left() > self.batches.size();
            let may_send = link.may_publish() && has_room;
            let linger = if self.is_ending { Duration::ZERO } else { self.batches.linger() };
            let due = self.batches.oldest().filter(|_| link.may_publish()).map(|opened| opened + linger);
            tokio::select! {
                biased;
                _ = scan.tick() => self.check().await,
                () = stop.cancelled(), if drain_until.is_none() => {
                    drain_until = Some(Instant::now() + drain);
                    self.is_ending = true;
                }
                () = link.changed() => self.check().await,
                Some(chunk) = replies.next() => self.take_replies(&chunk),
                () = std::future::ready(()), if self.has_due && link.may_publish() => self.resend_due().await,
                () = std::future::ready(()), if may_send && more => more = self.send_batch().await,
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                    self.send_due(Vec::new()).await;
                }
                () = queue.readable().notified(), if may_send && !more => more = true,
            }
            if let Some(until) = drain_until {
                let left = queue.status().messages;
                if left == 0 || Instant::now() >= until {
                    self.link.end();
                    if let Some(mirror) = self.mirror {
                        mirror.end().await;
                    }
                    return Ok(DrainResult { undelivered: left });
                }
            }
        }
    }

    /// Takes the next records and sends the messages that are due. False when the queue has no more.
    async fn send_batch(&mut self) -> bool {
        let mut entries = Vec::with_capacity(PUBLISH_BATCH_MAX);
        let messages_max = PUBLISH_BATCH_MAX.min(self.window.room().saturating_sub(self.batches.len()));
        let bytes_max = self.window.bytes_left().saturating_sub(self.batches.size());
        self.queue.read_next(messages_max, bytes_max, &mut entries);
        let (now, now_ns) = (Instant::now(), clock::now_ns());
        let mut messages = Vec::new();
        for entry in entries {
            if let Some(mirror) = &self.mirror {
                mirror.offer(&entry.record, now_ns);
            }
            self.batches.add(entry, now, &mut messages);
        }
        self.send_due(messages).await;
        self.queue.status().unread > 0
    }

    /// Sends these messages and those that have waited for the linger.
    async fn send_due(&mut self, mut messages: Vec<OutgoingMessage>) {
        let (now, now_ns) = (Instant::now(), clock::now_ns());
        self.batches.take_due(now, self.is_ending, &mut messages);
        for message in messages {
            for QueueEntry { record, .. } in &message.entries {
                self.hops.sent(record, now_ns);
            }
            if let Some(position) = self.window.insert(message, now) {
                self.send(position).await;
            }
        }
    }

    /// Hands a message to the client. After a failure it is published again when its acknowledgement times out.
    async fn send(&mut self, position: QueuePosition) {
        self.link.progress().turn();
        let Some(flight) = self.window.get(position) else { return };
        let message = &flight.message;
        self.metrics.published.inc_by(whole(message.entries.len()));
        self.metrics.published_messages.inc();
        let headers = message.headers();
        let reply = format!("{}.{}-{}", self.inbox, position.0, flight.send());
        let (subject, bytes) = (message.subject.clone(), message.payload.len());
        let payload = message.payload.clone();
        let publish = self.client.publish_with_reply_and_headers(subject.clone(), reply, headers, payload);
        match timeout(self.ack_timeout, publish).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                let text = format!("{bytes} bytes, above the broker's max_payload");
                self.lose(position, "too_large", &text);
            }
            Ok(Err(error)) => {
                if let Some(held_back) = self.problem_lines.allow(Instant::now()) {
                    tracing::warn!(%error, %subject, held_back, "message not sent, it will be published again");
                }
            }
            Err(_elapsed) => {
                tracing::debug!(%subject, "message not sent in time, it will be published again")
            }
        }
    }

    /// Checks deadlines and reconnects, and updates gauges.
    async fn check(&mut self) {
        self.follow_limits();
        let now = Instant::now();
        let connects = self.link.connects();
        self.metrics.nats_connected.set(i64::from(self.link.is_connected()));
        follow(&self.metrics.nats_connects, connects);
        if connects != self.connects_seen {
            self.connects_seen = connects;
            self.batches.set_broker_bytes(self.client.server_info().max_payload);
            self.window.reconnected(now);
            self.link.stalls().reconnected(now);
        }
        if self.link.may_publish() {
            self.resend_due().await;
        }
        self.metrics.in_flight.set(gauge(self.window.len()));
        self.check_stalls(now);
    }

    fn check_stalls(&self, now: Instant) {
        let oldest = self.window.oldest_sent();
        let carry_events = STREAMS.iter().filter(|stream| stream.carries == Carries::Events);
        for stream in carry_events.map(|stream| stream.name) {
            // While the broker is unreachable, or the name is not known to be free, that is the reason.
            let oldest = oldest.get(stream).filter(|_| self.link.may_publish()).copied();
            let seconds = self.link.stalls().update(stream, oldest, now);
            self.metrics.unacknowledged.with_label_values(&[stream]).set(gauge(seconds));
        }
    }

    /// A part of them at a time: replies are read between.
    async fn resend_due(&mut self) {
        let now = Instant::now();
        let due = self.window.due(now, PUBLISH_BATCH_MAX);
        self.has_due = due.len() == PUBLISH_BATCH_MAX;
        for (position, again) in due {
            self.resend(position, again, now).await;
        }
    }

    async fn resend(&mut self, position: QueuePosition, again: RetryReason, now: Instant) {
        let Some(events) = self.window.get(position).map(|flight| flight.message.entries.len()) else {
            return;
        };
        self.window.sent_again(position, now);
        self.metrics.republished.with_label_values(&[again.as_str()]).inc_by(whole(events));
        self.send(position).await;
    }

    fn take_replies(&mut self, replies: &[Message]) {
        self.link.progress().add_replies(replies.len());
        self.window.set_open(self.batches.len(), self.batches.size());
        let now = Instant::now();
        let now_ns = clock::now_ns();
        let mut stored: Vec<Confirmation> = Vec::with_capacity(replies.len());
        let mut outcomes: Vec<RecordOutcome> = Vec::with_capacity(replies.len());
        let mut rows: Vec<CoverageIndex> = Vec::new();
        let mut duplicates = 0;
        for message in replies {
            let Some((position, send)) = self.send_of(message) else { continue };
            // None: the second reply to a message that was sent twice, or that two streams have.
            let flight = self.window.get(position);
            let Some((flight, stream)) = flight.and_then(|flight| Some((flight, flight.stream()?))) else {
                self.link.note_late_reply(message);
                continue;
            };
            match self.link.reply(message, stream, || flight.message.bytes()) {
                PublishReply::Stored { duplicate, sequence } => {
                    let Some(flight) = self.window.acknowledged(position, send, now) else { continue };
                    self.hops.acknowledged(&flight, now, now_ns);
                    let outcome = publish_outcome(duplicate, &flight);
                    traces::stored(&flight, (now, now_ns), outcome, sequence);
                    for QueueEntry { position, record } in &flight.message.entries {
                        duplicates += u64::from(duplicate);
                        let sequence = Some(sequence);
                        stored.push(Confirmation { position: *position, sequence, outcome });
                        outcomes.push(record.with_outcome(outcome));
                        if !rows.contains(&record.coverage) {
                            rows.push(record.coverage);
                        }
                    }
                    self.stored(&flight, now);
                }
                PublishReply::NoStream => {
                    let text = self.link.no_stream(stream);
                    self.refuse(position, now, &text);
                }
                PublishReply::Foreign { text } | PublishReply::Refused { text } => {
                    self.refuse(position, now, &text);
                }
                PublishReply::Rejected { text } => self.lose(position, REJECTED, &text),
            }
        }
        // The audit first: once a record has left the queue, its window may be closed.
        self.auditor.record(&outcomes);
        self.queue.confirm(&stored);
        self.coverage.confirmed(rows, now_ns);
        self.metrics.acknowledged.inc_by(whole(stored.len()));
        self.metrics.acknowledged_duplicates.inc_by(duplicates);
    }

    /// The message that a reply is for, and the number of its send.
    fn send_of(&self, reply: &Message) -> Option<(QueuePosition, u64)> {
        let send = reply.subject.as_str().strip_prefix(&self.inbox)?.strip_prefix('.')?;
        let (position, send) = send.split_once('-')?;
        Some((QueuePosition(position.parse().ok()?), send.parse().ok()?))
    }

    /// If the stream refused other messages before, they are due now.
    fn stored(&mut self, flight: &InFlightMessage, now: Instant) {
        let Some(stream) = flight.first().map(|record| stream_of(record.data_type)) else { return };
        self.link.stalls().acknowledged(stream, now);
        if !self.refusing.is_empty() && self.refusing.remove(stream) {
            self.window.recovered(stream, now);
        }
    }

    fn refuse(&mut self, position: QueuePosition, now: Instant, text: &str) {
        let Some(record) = self.window.get(position).and_then(InFlightMessage::first) else { return };
        let stream = stream_of(record.data_type);
        self.link.stalls().refused(stream, text);
        if let Some(held_back) = self.problem_lines.allow(now) {
            let subject = record.subject.as_str();
            tracing::warn!(
                subject,
                stream,
                text,
                held_back,
                "message not taken by the broker, it will be published again"
            );
        }
        self.refusing.insert(stream);
        self.window.refused(position, now);
    }

    /// Gives up a message that the broker will never store. Of several events each is tried alone first: one of them, or their sum, may be
    /// too large.
    fn lose(&mut self, position: QueuePosition, cause: &str, text: &str) {
        if self.window.take_apart(position, Instant::now()) {
            return;
        }
        let Some(flight) = self.window.remove(position) else { return };
        traces::rejected(&flight, (Instant::now(), clock::now_ns()), text);
        for QueueEntry { position, record } in &flight.message.entries {
            self.metrics.lost.with_label_values(&[record.data_type.as_str(), cause]).inc();
            if let Some(held_back) = self.problem_lines.allow(Instant::now()) {
                tracing::error!(subject = %record.subject, event_id = %record.event_id, text, held_back, "event rejected by the broker, it is lost");
            }
            let outcome = PublishOutcome::Rejected;
            self.auditor.record(&[record.with_outcome(outcome)]);
            self.queue.confirm(&[Confirmation { position: *position, sequence: None, outcome }]);
        }
    }
}

const fn message_limits(limits: &PublisherLimits) -> MessageLimits {
    MessageLimits { linger: limits.linger, events: limits.batch_events }
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Outcome of an acknowledged message. A duplicate of a message that was sent more than once may be its own first copy, whose
/// acknowledgement was lost; a run that was killed may have sent its messages.
fn publish_outcome(duplicate: bool, flight: &InFlightMessage) -> PublishOutcome {
    let stream = flight.first().and_then(|record| record.stream);
    let is_of_killed_run = stream.is_some_and(|stream| !stream.is_of_this_run());
    match (duplicate, flight.tries) {
        (false, _) => PublishOutcome::Stored,
        (true, ..=1) if !is_of_killed_run => PublishOutcome::Duplicate,
        (true, _) => PublishOutcome::Ambiguous,
    }
}
