//! Deduplication: assigns each message to an open batch, as event, duplicate or dead letter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_nats::jetstream::{self, AckKind};
use async_nats::{Message, Subject};
use bytes::Bytes;
use marketprism_schema::{CorrectionMark, DataType, Event, EventId, stream_of};
use marketprism_service::LogLimit;
use prometheus::local::LocalHistogram;
use xxhash_rust::xxh3::xxh3_128;

use super::batch::{BatchEntry, OpenBatches};
use super::insert_task::{InsertResult, seconds};
use super::known_events::{FOUND, IdState, PendingDuplicate, PendingDuplicates, RecentIds};
use super::lookup::DuplicateRisk;
use super::message::{self, Delivery, NOT_FROM_A_STREAM, Refusal};
use super::subscription::acknowledge;
use crate::config::Stream;
use crate::context::CentralContext;
use crate::row::{
    CopyRow, CorrectedEvent, DeadLetter, TableRows, Target, encode_copy, encode_corrected_event,
    encode_dead_letter, encode_event,
};
use crate::{clock, limits, time};

pub struct Deduplicator {
    shared: Arc<CentralContext>,
    stream: &'static str,
    pub open: OpenBatches,
    ids: RecentIds,
    pending: PendingDuplicates,
    risk: DuplicateRisk,
    /// Acknowledgements of messages of this turn that need no row.
    acks: Vec<Subject>,
    found_recent: u64,
    found_in_flight: u64,
    edge_to_broker: LocalHistogram,
    refusal_lines: LogLimit,
}

impl Deduplicator {
    pub fn new(shared: Arc<CentralContext>, stream: &Stream) -> Self {
        let name = stream.settings.name;
        let edge_to_broker = shared.metrics.hops.edge_to_broker.with_label_values(&[name]).local();
        Self {
            stream: name,
            open: OpenBatches::new(name),
            // Ids stored earlier are unknown, unless the tables turn out to be empty.
            ids: RecentIds::new(shared.config.batch.recent_event_ids, clock::now_ns()),
            pending: PendingDuplicates::default(),
            risk: DuplicateRisk::new(stream.settings.duplicate_window),
            acks: Vec::new(),
            found_recent: 0,
            found_in_flight: 0,
            edge_to_broker,
            refusal_lines: LogLimit::default(),
            shared,
        }
    }

    /// A consumer starts from the beginning or after another central: reads the highest stored sequence of every table of the stream.
    pub async fn begin_consumer(&mut self, stream_created_ns: i64) -> anyhow::Result<()> {
        let mut high_marks = BTreeMap::new();
        for &data_type in DataType::ALL.iter().filter(|&&data_type| stream_of(data_type) == self.stream) {
            let target = Target::Events(data_type);
            high_marks.insert(target, self.shared.storage.highest_sequence(target.table()).await?);
        }
        let is_hot_empty = high_marks.values().all(|&mark| mark == 0);
        if is_hot_empty && self.ids.is_fresh() {
            self.ids = RecentIds::new(self.shared.config.batch.recent_event_ids, i64::MIN);
        }
        self.risk.begin(stream_created_ns, high_marks);
        Ok(())
    }

    /// Hot may lack rows of known ids. No batch may be open or in flight.
    pub fn forget(&mut self) {
        let now_ns = self.shared.hot_clock.now_ms().saturating_mul(1_000_000);
        self.ids = RecentIds::new(self.shared.config.batch.recent_event_ids, now_ns);
    }

    /// The stream was recreated: new batches hold messages of the new incarnation. No batch may be open or in flight.
    pub fn begin_stream(&mut self, incarnation: u64) {
        self.open.begin_stream(incarnation);
        self.ids.forget_sequences();
    }

    /// Lowest sequence of a message that is not stored yet, batches in flight excluded.
    pub fn lowest_open(&self) -> Option<u64> {
        self.open.lowest().into_iter().chain(self.pending.lowest()).min()
    }

    pub fn take(&mut self, message: jetstream::Message) -> Option<u64> {
        let Some(delivery) = Delivery::of(&message) else {
            // A message without an acknowledgement subject did not come from a stream and cannot be acknowledged.
            self.shared.metrics.dead_letters.with_label_values(&[NOT_FROM_A_STREAM]).inc();
            tracing::error!(subject = &*message.message.subject, "dropped a message that no stream result");
            return None;
        };
        let message = message.message;
        let added = match message::correction_mark(&message) {
            None => self.add_event(message, delivery),
            Some(Ok(mark)) => self.add_corrected(message, delivery, &mark),
            Some(Err((refusal, reason))) => Err((message, refusal, reason)),
        };
        if let Err((message, refusal, reason)) = added {
            self.add_dead_letter(message, delivery, refusal, &reason);
        }
        self.risk.taken(delivery.stream_seq);
        Some(delivery.stream_seq)
    }

    /// Adds the row of an event or duplicate. Returns the message if it holds no valid event.
    // The error is large because the message is moved into it instead of being cloned.
    #[allow(clippy::result_large_err)]
    fn add_event(&mut self, message: Message, delivery: Delivery) -> Result<(), (Message, Refusal, String)> {
        let event = match message::read(&message, delivery.published_ns) {
            Ok(event) => event,
            Err((refusal, reason)) => return Err((message, refusal, reason)),
        };
        let header = &event.header;
        let (id, timestamp_us, received_at_ns) =
            (header.event_id, header.timestamp_us, header.received_at_ns);
        let state = self.ids.state_of(id);
        if state != IdState::New {
            let row = self.duplicate_row(&event, delivery.stream_seq, state);
            drop(event);
            self.add_known(message, delivery, id, state, row);
            return Ok(());
        }
        if let Some(reason) = self.expired(timestamp_us) {
            drop(event);
            return Err((message, Refusal::Expired, reason));
        }
        let target = Target::Events(event.body.data_type());
        let may_be_stored =
            self.risk.may_be_stored(&event, &message, delivery, target, self.ids.complete_since_ns());
        let batch = self.open.of(target);
        if let Err(error) = encode_event(&event, delivery.stream_seq, &mut batch.rows) {
            return Err((message, Refusal::Value, error.to_string()));
        }
        drop(event);
        self.edge_to_broker.observe(seconds(delivery.published_ns.saturating_sub(received_at_ns)));
        self.ids.begin(id, delivery.stream_seq);
        batch.push(BatchEntry {
            message,
            event_id: id,
            stream_seq: delivery.stream_seq,
            timestamp_us,
            received_at_ns,
            published_ns: delivery.published_ns,
            may_be_stored,
        });
        Ok(())
    }

    /// Adds an event of a correction, which waits in a table of its own: it is no copy of the event that it corrects.
    #[allow(clippy::result_large_err)]
    fn add_corrected(
        &mut self,
        message: Message,
        delivery: Delivery,
        mark: &CorrectionMark,
    ) -> Result<(), (Message, Refusal, String)> {
        let event = match message::read_corrected(&message, delivery.published_ns) {
            Ok(event) => event,
            Err((refusal, reason)) => return Err((message, refusal, reason)),
        };
        let (event_id, stream_seq) = (event.header.event_id, delivery.stream_seq);
        // What no row can hold would stop the correction.
        let target = Target::Events(event.body.data_type());
        if let Err(error) = encode_event(&event, stream_seq, &mut TableRows::new(target.columns())) {
            drop(event);
            return Err((message, Refusal::Value, error.to_string()));
        }
        let (stream, payload) = (self.stream, &*message.payload);
        let corrected = CorrectedEvent { mark, event: &event, stream, stream_seq, payload };
        let batch = self.open.of(Target::CorrectedEvents);
        encode_corrected_event(&corrected, &mut batch.rows);
        drop(event);
        batch.push(BatchEntry::without_event(without_payload(message), event_id, delivery));
        Ok(())
    }

    /// Why hot would not keep a row of this time until it is copied to cold.
    fn expired(&self, timestamp_us: i64) -> Option<String> {
        let ttl_days = self.shared.config.clickhouse.hot_ttl_days;
        let kept = limits::DAY.saturating_mul(ttl_days).saturating_sub(limits::TTL_MARGIN);
        // The server deletes by its own clock.
        let now_us = self.shared.hot_clock.now_ms().saturating_mul(1_000);
        let oldest_us = now_us.saturating_sub(time::nanos(kept) / 1_000);
        (timestamp_us < oldest_us).then(|| {
            format!(
                "timestamp: is {timestamp_us}, allowed: from {oldest_us} on, since hot deletes rows after {ttl_days} days"
            )
        })
    }

    fn duplicate_row(&self, event: &Event<'_>, stream_seq: u64, state: IdState) -> Option<CopyRow<'static>> {
        let found = match state {
            IdState::InFlight(own) | IdState::Stored(own) if own == stream_seq => return None,
            IdState::InFlight(_) => "in_flight",
            IdState::Stored(_) | IdState::New => "recent",
        };
        if self.pending.is_pending(stream_seq) {
            return None;
        }
        Some(CopyRow::of(event, stream_seq, found).into_owned())
    }

    /// Takes a message whose event is known: a redelivery or a duplicate.
    fn add_known(
        &mut self,
        message: Message,
        delivery: Delivery,
        id: EventId,
        state: IdState,
        row: Option<CopyRow<'static>>,
    ) {
        match state {
            IdState::Stored(_) => self.found_recent += 1,
            _ => self.found_in_flight += 1,
        }
        match (state, row) {
            // Both stay unacknowledged until the event is stored.
            (IdState::InFlight(_), Some(row)) => {
                let copy = PendingDuplicate { message: without_payload(message), delivery, row };
                self.pending.keep(id, copy);
            }
            (_, Some(row)) => self.add_copy(message, delivery, id, &row),
            // The row of this very message is stored.
            (IdState::Stored(stream_seq), None) if stream_seq == delivery.stream_seq => {
                self.acks.extend(message.reply);
            }
            // A redelivery while the first delivery is still in flight: that one will be acknowledged.
            (_, None) => {}
        }
    }

    fn add_copy(&mut self, message: Message, delivery: Delivery, id: EventId, row: &CopyRow<'_>) {
        self.pending.begin(delivery.stream_seq);
        let batch = self.open.of(Target::Copies);
        encode_copy(row, self.stream, &mut batch.rows);
        batch.push(BatchEntry::without_event(without_payload(message), id, delivery));
    }

    fn add_dead_letter(&mut self, message: Message, delivery: Delivery, refusal: Refusal, reason: &str) {
        self.shared.metrics.dead_letters.with_label_values(&[refusal.as_str()]).inc();
        let stream_seq = delivery.stream_seq;
        if let Some(held_back) = self.refusal_lines.allow(Instant::now()) {
            let kind = refusal.as_str();
            tracing::warn!(
                stream = self.stream,
                stream_seq,
                kind,
                reason,
                held_back,
                "message refused; stored in dead_letters"
            );
        }
        let target = Target::DeadLetters;
        let batch = self.open.of(target);
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
        batch.push(BatchEntry::without_event(message, event_id, delivery));
    }

    pub async fn end_turn(&mut self) {
        self.edge_to_broker.flush();
        let (recent, in_flight) =
            (std::mem::take(&mut self.found_recent), std::mem::take(&mut self.found_in_flight));
        let counters = &self.shared.metrics.duplicates;
        counters.with_label_values(&[self.stream, FOUND[0]]).inc_by(recent);
        counters.with_label_values(&[self.stream, FOUND[1]]).inc_by(in_flight);
        self.send_acks().await;
    }

    async fn send_acks(&mut self) {
        if self.acks.is_empty() {
            return;
        }
        let acks = std::mem::take(&mut self.acks);
        let failed = acknowledge(&self.shared.broker.client, acks.iter(), AckKind::Ack).await;
        self.shared.metrics.ack_failures.inc_by(whole(failed));
        self.shared.metrics.processed.inc_by(whole(acks.len()));
    }

    /// Processes the result of an insert. Duplicates and refused rows continue to their own tables.
    pub async fn apply_result(&mut self, result: InsertResult) {
        let InsertResult { target, stored, copies, refused, .. } = result;
        let count = whole(stored.len());
        match target {
            Target::DeadLetters => self.shared.metrics.failed.inc_by(count),
            Target::CorrectedEvents => self.shared.metrics.processed.inc_by(count),
            Target::Copies => {
                self.shared.metrics.processed.inc_by(count);
                stored.iter().for_each(|entry| self.pending.end(entry.stream_seq));
            }
            Target::Events(data_type) => {
                self.shared.metrics.processed.inc_by(count);
                let events = stored.iter().map(|entry| (&*entry.message.subject, entry.timestamp_us));
                self.shared.coverage.stored(data_type, events, clock::now_ns());
                for entry in &stored {
                    self.event_is_stored(entry, entry.stream_seq);
                }
            }
        }
        for (entry, stream_seq) in copies {
            self.event_is_stored(&entry, stream_seq);
            self.add_stored_duplicate(entry);
        }
        let mut again = Vec::new();
        for (entry, reason) in refused {
            self.ids.refused(entry.event_id);
            for copy in self.pending.take(entry.event_id) {
                self.pending.end(copy.delivery.stream_seq);
                again.extend(copy.message.reply);
            }
            let delivery = delivery_of(&entry);
            self.add_dead_letter(entry.message, delivery, Refusal::Storage, &reason);
        }
        // Duplicates of a refused event are redelivered and checked on their own.
        acknowledge(&self.shared.broker.client, again.iter(), AckKind::Nak(None)).await;
        self.send_acks().await;
    }

    fn event_is_stored(&mut self, entry: &BatchEntry, stream_seq: u64) {
        self.ids.stored(entry.event_id, stream_seq, entry.published_ns);
        for PendingDuplicate { message, delivery, row } in self.pending.take(entry.event_id) {
            if delivery.stream_seq == stream_seq {
                self.pending.end(stream_seq);
                self.acks.extend(message.reply);
            } else {
                self.add_copy(message, delivery, entry.event_id, &row);
            }
        }
    }

    fn add_stored_duplicate(&mut self, entry: BatchEntry) {
        let delivery = delivery_of(&entry);
        let row = message::decode(&entry.message)
            .map(|event| CopyRow::of(&event, entry.stream_seq, "stored").into_owned());
        match row {
            Ok(row) => self.add_copy(entry.message, delivery, entry.event_id, &row),
            Err((refusal, reason)) => self.add_dead_letter(entry.message, delivery, refusal, &reason),
        }
    }
}

fn delivery_of(entry: &BatchEntry) -> Delivery {
    Delivery { stream_seq: entry.stream_seq, is_redelivered: false, published_ns: entry.published_ns }
}

fn without_payload(message: Message) -> Message {
    Message { payload: Bytes::new(), headers: None, ..message }
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
