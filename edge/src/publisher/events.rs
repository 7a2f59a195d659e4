//! The publishing task.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::header::{HeaderName, NATS_MESSAGE_ID};
use async_nats::{Client, HeaderMap, HeaderValue, Message, PublishErrorKind};
use futures_util::StreamExt;
use marketprism_schema::stream_of;
use prometheus::Histogram;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::inflight::{AckToken, InFlight, InFlightMessage, RetryReason};
use crate::audit::{Auditor, PublishOutcome, RecordOutcome};
use crate::broker::{BrokerLink, PublishReply};
use crate::clock;
use crate::config::PublisherLimits;
use crate::limits::{IN_FLIGHT_SCAN, PUBLISH_BATCH_MAX};
use crate::queue::{Entry, EventQueue, Position, Record};
use crate::telemetry::{Coverage, LogLimit, Metrics, follow, gauge, seconds_between};

const CONTENT_TYPE: HeaderName = HeaderName::from_static("Content-Type");

/// What was left when the publisher stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainResult {
    /// Records without an acknowledgement.
    pub undelivered: u64,
}

/// Publishes what the journal holds, in order, and confirms it there once the broker has stored it.
pub struct Publisher {
    client: Client,
    link: Arc<BrokerLink>,
    journal: Arc<dyn EventQueue>,
    coverage: Arc<Coverage>,
    auditor: Arc<Auditor>,
    metrics: Metrics,
    window: InFlight,
    ack_timeout: Duration,
    /// Subject under which the broker answers, without the token.
    inbox: String,
    queue_to_ack: Histogram,
    receive_to_ack: Histogram,
    refusals: LogLimit,
    /// Streams that refused a message and took none since.
    refusing: BTreeSet<&'static str>,
    connects_seen: u64,
}

impl Publisher {
    /// A publisher on a connection.
    pub fn new(
        client: Client,
        link: Arc<BrokerLink>,
        journal: Arc<dyn EventQueue>,
        coverage: Arc<Coverage>,
        auditor: Arc<Auditor>,
        metrics: Metrics,
        limits: PublisherLimits,
    ) -> Self {
        let inbox = client.new_inbox();
        Self {
            window: InFlight::new(limits.in_flight_messages, limits.in_flight_bytes, limits.ack_timeout),
            ack_timeout: limits.ack_timeout,
            queue_to_ack: metrics.hop_seconds.with_label_values(&["publish_to_ack"]),
            receive_to_ack: metrics.hop_seconds.with_label_values(&["receive_to_ack"]),
            client,
            link,
            journal,
            coverage,
            auditor,
            metrics,
            inbox,
            refusals: LogLimit::default(),
            refusing: BTreeSet::new(),
            connects_seen: 0,
        }
    }

    /// Publishes until `stop`, then until the journal is empty or `drain` is over.
    pub async fn run(mut self, stop: CancellationToken, drain: Duration) -> anyhow::Result<DrainResult> {
        let answers = self.client.subscribe(format!("{}.*", self.inbox)).await?;
        let mut answers = answers.ready_chunks(2 * PUBLISH_BATCH_MAX);
        let mut scan = interval(IN_FLIGHT_SCAN);
        scan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (link, journal) = (Arc::clone(&self.link), Arc::clone(&self.journal));
        let mut drain_until: Option<Instant> = None;
        let mut more = true;
        loop {
            let may_send = link.is_connected() && self.window.room() > 0;
            tokio::select! {
                biased;
                _ = scan.tick() => self.look_after().await,
                () = stop.cancelled(), if drain_until.is_none() => drain_until = Some(Instant::now() + drain),
                () = link.changed() => self.look_after().await,
                Some(chunk) = answers.next() => self.settle(chunk),
                () = std::future::ready(()), if may_send && more => more = self.send_batch().await,
                () = journal.readable().notified(), if may_send && !more => more = true,
            }
            if let Some(until) = drain_until {
                let left = journal.status().messages;
                if left == 0 || Instant::now() >= until {
                    self.link.end();
                    return Ok(DrainResult { undelivered: left });
                }
            }
        }
    }

    /// Sends the next records. Gives whether there may be more.
    async fn send_batch(&mut self) -> bool {
        let mut entries = Vec::with_capacity(PUBLISH_BATCH_MAX);
        let messages_max = PUBLISH_BATCH_MAX.min(self.window.room());
        self.journal.read_next(messages_max, self.window.bytes_left(), &mut entries);
        let now = Instant::now();
        let mut sent = 0;
        for entry in entries {
            let record = entry.record.clone();
            let position = entry.position;
            let Some(token) = self.window.insert(entry, now) else {
                // Cannot be: no more was read than there is room for.
                tracing::error!(position = position.0, "no room in the window of messages in flight");
                continue;
            };
            self.send(token, &record).await;
            sent += 1;
        }
        self.metrics.published.inc_by(sent);
        self.journal.status().unread > 0
    }

    /// Hands one message to the client. A failure needs nothing here: the message is due again when its time is over.
    async fn send(&mut self, token: AckToken, record: &Record) {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, HeaderValue::from(record.event_id.to_string()));
        headers.insert(CONTENT_TYPE, HeaderValue::from(record.form.content_type()));
        let reply = format!("{}.{token}", self.inbox);
        let publish = self.client.publish_with_reply_and_headers(
            record.subject.clone(),
            reply,
            headers,
            record.payload.clone(),
        );
        match timeout(self.ack_timeout, publish).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                let text = format!("{} bytes are above the broker's max_payload", record.payload.len());
                self.lose(token, "too_large", &text);
            }
            Ok(Err(error)) => {
                if let Some(held_back) = self.refusals.allow(Instant::now()) {
                    tracing::warn!(%error, subject = %record.subject, held_back, "the message was not sent");
                }
            }
            Err(_elapsed) => tracing::debug!(subject = %record.subject, "the client takes no message"),
        }
    }

    /// Deadlines, reconnects, gauges.
    async fn look_after(&mut self) {
        let now = Instant::now();
        let connects = self.link.connects();
        self.metrics.nats_connected.set(i64::from(self.link.is_connected()));
        follow(&self.metrics.nats_connects, connects);
        if connects != self.connects_seen {
            self.connects_seen = connects;
            self.window.reconnected(now);
        }
        if self.link.is_connected() {
            let due = self.window.due(now);
            for (token, again) in due {
                self.send_again(token, again, now).await;
            }
        }
        self.metrics.in_flight.set(gauge(self.window.len()));
    }

    async fn send_again(&mut self, token: AckToken, again: RetryReason, now: Instant) {
        let Some(record) = self.window.get(token).map(|flight| flight.entry.record.clone()) else { return };
        self.window.sent_again(token, now);
        self.metrics.republished.with_label_values(&[again.as_str()]).inc();
        self.metrics.published.inc();
        self.send(token, &record).await;
    }

    /// Takes the broker's answers.
    fn settle(&mut self, answers: Vec<Message>) {
        let now = Instant::now();
        let now_ns = clock::now_ns();
        let mut stored: Vec<Position> = Vec::with_capacity(answers.len());
        let mut settled: Vec<RecordOutcome> = Vec::with_capacity(answers.len());
        let mut rows: Vec<u16> = Vec::new();
        let mut duplicates = 0;
        for message in &answers {
            let Some(token) = self.token_of(message) else { continue };
            let status = message.status.map(|status| status.as_u16());
            match PublishReply::parse(&message.payload, status) {
                PublishReply::Stored { duplicate } => {
                    // A second answer to a message that was sent twice finds nothing.
                    let Some(flight) = self.window.remove(token) else { continue };
                    duplicates += u64::from(duplicate);
                    self.observe(&flight, now, now_ns);
                    stored.push(flight.entry.position);
                    settled.push(flight.entry.record.settled(settlement(duplicate, flight.tries)));
                    self.took(&flight, now);
                    if !rows.contains(&flight.entry.record.coverage) {
                        rows.push(flight.entry.record.coverage);
                    }
                }
                PublishReply::NoStream => self.refuse(token, now, None),
                PublishReply::Refused { text } => self.refuse(token, now, Some(&text)),
                PublishReply::Rejected { text } => self.lose(token, "refused", &text),
            }
        }
        // The tally first: once the journal has let go of a record, its window may be closed.
        self.auditor.settle(&settled);
        self.journal.confirm(&stored);
        self.coverage.confirmed(rows.into_iter(), now_ns);
        self.metrics.acknowledged.inc_by(u64::try_from(stored.len()).unwrap_or_default());
        self.metrics.acknowledged_duplicates.inc_by(duplicates);
    }

    fn observe(&self, flight: &InFlightMessage, now: Instant, now_ns: i64) {
        self.queue_to_ack.observe(now.saturating_duration_since(flight.first_sent).as_secs_f64());
        self.receive_to_ack.observe(seconds_between(flight.entry.record.received_at_ns, now_ns));
    }

    fn token_of(&self, message: &Message) -> Option<AckToken> {
        let token = message.subject.as_str().strip_prefix(&self.inbox)?.strip_prefix('.')?;
        AckToken::parse(token)
    }

    /// A stream stores a message. If it refused others before, they are due now.
    fn took(&mut self, flight: &InFlightMessage, now: Instant) {
        let stream = stream_of(flight.entry.record.data_type);
        if !self.refusing.is_empty() && self.refusing.remove(stream) {
            self.window.recovered(stream, now);
        }
    }

    /// The broker did not take it: it is published again after a wait.
    fn refuse(&mut self, token: AckToken, now: Instant, text: Option<&str>) {
        let Some(Entry { record, .. }) = self.window.get(token).map(|flight| &flight.entry) else { return };
        if let Some(held_back) = self.refusals.allow(now) {
            let (subject, stream) = (record.subject.as_str(), stream_of(record.data_type));
            match text {
                Some(text) => {
                    tracing::warn!(subject, stream, text, held_back, "the broker refuses, trying again");
                }
                None => tracing::error!(
                    subject,
                    stream,
                    held_back,
                    "no stream stores this subject: run `marketprism-central init` to create it; trying again"
                ),
            }
        }
        self.refusing.insert(stream_of(record.data_type));
        self.window.refused(token, now);
    }

    /// Gives a message up for what it is, counted.
    fn lose(&mut self, token: AckToken, cause: &str, text: &str) {
        let Some(flight) = self.window.remove(token) else { return };
        let record = &flight.entry.record;
        self.metrics.lost.with_label_values(&[record.data_type.as_str(), cause]).inc();
        if let Some(held_back) = self.refusals.allow(Instant::now()) {
            tracing::error!(subject = %record.subject, event_id = %record.event_id, text, held_back, "an event is lost");
        }
        self.auditor.settle(&[record.settled(PublishOutcome::Refused)]);
        self.journal.confirm(&[flight.entry.position]);
    }
}

/// What an acknowledgement says. Sent more than once, a copy may be our own: its first acknowledgement is lost then.
const fn settlement(duplicate: bool, tries: u32) -> PublishOutcome {
    match (duplicate, tries) {
        (false, _) => PublishOutcome::Stored,
        (true, ..=1) => PublishOutcome::Duplicate,
        (true, _) => PublishOutcome::Unsure,
    }
}
