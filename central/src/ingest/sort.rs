//! Sorts messages into the open batches, and tells copies from events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, AckKind};
use async_nats::{Message, Subject};
use marketprism_schema::{DataType, EventId, stream_of};
use prometheus::local::LocalHistogram;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

use super::ack::acknowledge;
use super::batch::{Batch, Entry};
use super::deliver::{Delivered, seconds};
use super::message::{self, Delivery, Refusal};
use super::recent::{RecentIds, Seen};
use super::shared::Shared;
use crate::clock;
use crate::config::Stream;
use crate::row::{DeadLetter, Target, encode_dead_letter, encode_event};

/// Sorts messages into the open batches, and tells copies from events.
pub struct Sorter {
    shared: Arc<Shared>,
    stream: &'static str,
    /// A message that the broker received so long after the edge may be a copy that the broker did not recognize.
    duplicate_window_ns: i64,
    open: BTreeMap<Target, Batch>,
    ids: RecentIds,
    /// Highest sequence among the rows of a table when the consumer began: up to it, its messages may be stored.
    high_marks: BTreeMap<Target, u64>,
    /// Acknowledgements of this turn's copies.
    copies: Vec<Subject>,
    copies_recent: u64,
    copies_in_flight: u64,
    edge_to_broker: LocalHistogram,
}

impl Sorter {
    /// Nothing open, nothing known.
    pub fn new(shared: Arc<Shared>, stream: &Stream) -> Self {
        let name = stream.settings.name;
        let edge_to_broker = shared.metrics.hops.edge_to_broker.with_label_values(&[name]).local();
        let window = stream.settings.duplicate_window.as_nanos();
        Self {
            stream: name,
            duplicate_window_ns: i64::try_from(window).unwrap_or(i64::MAX),
            open: BTreeMap::new(),
            ids: RecentIds::new(shared.config.batch.recent_event_ids),
            high_marks: BTreeMap::new(),
            copies: Vec::new(),
            copies_recent: 0,
            copies_in_flight: 0,
            edge_to_broker,
            shared,
        }
    }

    /// Asks every table of the stream how far it got.
    pub async fn read_high_marks(&mut self) -> anyhow::Result<()> {
        let mut high_marks = BTreeMap::new();
        for &data_type in DataType::ALL.iter().filter(|&&data_type| stream_of(data_type) == self.stream) {
            let target = Target::Events(data_type);
            high_marks.insert(target, self.shared.storage.highest_sequence(target.table()).await?);
        }
        self.high_marks = high_marks;
        Ok(())
    }

    /// Takes one message.
    pub fn take(&mut self, message: jetstream::Message) {
        let Some(delivery) = Delivery::of(&message) else {
            // Without an acknowledgement subject it did not come from a stream; there is nothing to answer to.
            self.shared.metrics.dead_letters.with_label_values(&["not_from_a_stream"]).inc();
            tracing::error!(
                subject = &*message.message.subject,
                "a message that no stream delivered was dropped"
            );
            return;
        };
        if let Err((message, refusal, reason)) = self.add_event(message.message, delivery) {
            self.add_dead_letter(message, delivery, refusal, &reason);
        }
    }

    /// Adds the row of an event, unless it is a copy. Gives the message back when it is no event.
    // The message is moved, not cloned; that is what makes the error large.
    #[allow(clippy::result_large_err)]
    fn add_event(&mut self, message: Message, delivery: Delivery) -> Result<(), (Message, Refusal, String)> {
        let event = match message::read(&message) {
            Ok(event) => event,
            Err((refusal, reason)) => return Err((message, refusal, reason)),
        };
        let id = event.header.event_id;
        match self.ids.look(id) {
            Seen::New => {}
            // The same message once more: the acknowledgement of its first delivery is still to come.
            Seen::InFlight(stream_seq) if stream_seq == delivery.stream_seq => {
                self.copies_in_flight += 1;
                return Ok(());
            }
            // Another message with the same event. The first one stays with the broker until the event is stored.
            Seen::InFlight(_) => {
                self.copies_in_flight += 1;
                self.copies.extend(message.reply);
                return Ok(());
            }
            Seen::Stored => {
                self.copies_recent += 1;
                self.copies.extend(message.reply);
                return Ok(());
            }
        }
        let target = Target::Events(event.body.data_type());
        let to_broker_ns = delivery.published_ns.saturating_sub(event.header.received_at_ns);
        // No earlier copy can be older than the venue's own time. Whatever happened within the window the broker knows by itself; an edge
        // that was started anew tells older things again: the answers of polls, a venue's backlog.
        let known_for_ns =
            delivery.published_ns.saturating_sub(event.header.timestamp_us.saturating_mul(1_000));
        let may_be_stored = delivery.is_redelivered
            || to_broker_ns.max(known_for_ns) > self.duplicate_window_ns
            || self.high_marks.get(&target).is_some_and(|&mark| delivery.stream_seq <= mark);
        let timestamp_us = event.header.timestamp_us;
        let batch = self.open.entry(target).or_insert_with(|| Batch::new(target, self.stream));
        let start = batch.rows.len();
        if let Err(error) = encode_event(&event, delivery.stream_seq, &mut batch.rows) {
            batch.rows.truncate(start);
            return Err((message, Refusal::Value, error.to_string()));
        }
        drop(event);
        self.edge_to_broker.observe(seconds(to_broker_ns));
        self.ids.begin(id, delivery.stream_seq);
        batch.push(Entry {
            message,
            event_id: id,
            stream_seq: delivery.stream_seq,
            timestamp_us,
            published_ns: delivery.published_ns,
            may_be_stored,
            row_end: batch.rows.len(),
        });
        Ok(())
    }

    fn add_dead_letter(&mut self, message: Message, delivery: Delivery, refusal: Refusal, reason: &str) {
        self.shared.metrics.dead_letters.with_label_values(&[refusal.as_str()]).inc();
        let stream_seq = delivery.stream_seq;
        tracing::warn!(stream = self.stream, stream_seq, reason, "a message goes to the dead letters");
        let target = Target::DeadLetters;
        let batch = self.open.entry(target).or_insert_with(|| Batch::new(target, self.stream));
        let headers = message.headers.as_ref();
        let letter = DeadLetter {
            stream: self.stream,
            stream_seq,
            subject: &message.subject,
            content_type: message::header(headers, "Content-Type"),
            message_id: message::header(headers, "Nats-Msg-Id"),
            reason,
            payload: &message.payload,
        };
        encode_dead_letter(&letter, &mut batch.rows);
        let event_id = EventId(xxh3_128(&message.payload));
        batch.push(Entry {
            message,
            event_id,
            stream_seq,
            timestamp_us: 0,
            published_ns: delivery.published_ns,
            may_be_stored: false,
            row_end: batch.rows.len(),
        });
    }

    /// Acknowledges the copies of this turn and counts them.
    pub async fn end_turn(&mut self) {
        self.edge_to_broker.flush();
        let (recent, in_flight) =
            (std::mem::take(&mut self.copies_recent), std::mem::take(&mut self.copies_in_flight));
        let counters = &self.shared.metrics.duplicates;
        counters.with_label_values(&[self.stream, "recent"]).inc_by(recent);
        counters.with_label_values(&[self.stream, "in_flight"]).inc_by(in_flight);
        if self.copies.is_empty() {
            return;
        }
        let copies = std::mem::take(&mut self.copies);
        let failed = acknowledge(&self.shared.broker.client, copies.iter(), AckKind::Ack).await;
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.shared.metrics.ack_failures.inc_by(count(failed));
        self.shared.metrics.processed.inc_by(count(copies.len()));
    }

    /// When the oldest open batch is due.
    pub fn deadline(&self, max_age: Duration) -> Option<Instant> {
        self.open.values().map(|batch| batch.deadline(max_age)).min().map(Instant::from_std)
    }

    /// Takes out the batches that are due.
    pub fn close_if(&mut self, is_due: impl Fn(&Batch) -> bool) -> Vec<Batch> {
        let due: Vec<Target> = self.open.iter().filter(|(_, b)| is_due(b)).map(|(t, _)| *t).collect();
        // A batch without entries is left by an event whose row could not be written.
        due.iter().filter_map(|t| self.open.remove(t)).filter(|batch| !batch.entries.is_empty()).collect()
    }

    /// Takes note of what became of a batch. Refused rows become dead letters.
    pub fn settle(&mut self, delivered: Delivered) {
        let count = u64::try_from(delivered.stored.len()).unwrap_or(u64::MAX);
        if delivered.target == Target::DeadLetters {
            self.shared.metrics.failed.inc_by(count);
            return;
        }
        self.shared.metrics.processed.inc_by(count);
        for entry in &delivered.stored {
            self.ids.stored(entry.event_id);
        }
        if let Target::Events(data_type) = delivered.target {
            let stored = delivered.stored.iter().map(|entry| (&*entry.message.subject, entry.timestamp_us));
            self.shared.coverage.stored(data_type, stored, clock::now_ns());
        }
        for (entry, reason) in delivered.refused {
            self.ids.refused(entry.event_id);
            let delivery = Delivery {
                stream_seq: entry.stream_seq,
                is_redelivered: false,
                published_ns: entry.published_ns,
            };
            self.add_dead_letter(entry.message, delivery, Refusal::Storage, &reason);
        }
    }
}
