//! Deduplication: assigns each event of a message to an open batch, as event, duplicate or dead letter.

use std::sync::Arc;
use std::time::Instant;

use async_nats::{Message, jetstream};
use marketprism_schema::{CorrectionMark, DataType, DataTypeMap, Event, EventId, Header, stream_of};
use marketprism_service::LogLimit;
use prometheus::local::LocalHistogram;
use xxhash_rust::xxh3::xxh3_128;

use super::batch::{BatchEntry, OpenBatches};
use super::insert_task::{InsertResult, seconds};
use super::known_events::{FOUND, IdState, PendingDuplicate, PendingDuplicates, Repetition};
use super::lookup::DuplicateRisk;
use super::message::{self, Delivery, Refusal, RefusalReason, exchange_of};
use super::open_message::{FinishedMessage, OpenMessage};
use super::recent_ids::RecentIds;
use crate::config::Stream;
use crate::context::CentralContext;
use crate::coverage::Arrived;
use crate::row::{
    CopyRow, CorrectedEvent, DeadLetter, TableRows, Target, encode_corrected_event, encode_dead_letter,
    encode_event, encode_next_event,
};
use crate::{clock, limits, time};

/// Ids that are looked for before they are changed. Their lines stay in the cache until then.
const IDS_READ_AHEAD: usize = 32;

/// Part of the reason of an event that hot would delete before it is copied.
pub const EXPIRED: &str = "since hot deletes rows after";

pub struct Deduplicator {
    shared: Arc<CentralContext>,
    stream: &'static str,
    pub open: OpenBatches,
    ids: RecentIds,
    pending: PendingDuplicates,
    risk: DuplicateRisk,
    /// Messages all of whose events have their rows, since this was emptied last.
    pub finished: Vec<FinishedMessage>,
    /// Events taken since the last call of [`Self::end_turn`].
    pub events_of_turn: usize,
    found_recent: u64,
    found_in_flight: u64,
    /// Venue time of which hot would not keep a row until it is copied to cold, microseconds since 1970. Of the newest message.
    oldest_us: i64,
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
            ids: RecentIds::new(shared.config.batch.recent_event_ids),
            pending: PendingDuplicates::default(),
            risk: DuplicateRisk::default(),
            finished: Vec::new(),
            events_of_turn: 0,
            found_recent: 0,
            found_in_flight: 0,
            oldest_us: i64::MIN,
            edge_to_broker,
            refusal_lines: LogLimit::default(),
            shared,
        }
    }

    /// A consumer starts from the beginning or after another central: reads the highest stored sequence of every table of the stream.
    pub async fn begin_consumer(&mut self, delivered: u64) -> anyhow::Result<()> {
        let mut high_marks = DataTypeMap::<u64>::default();
        for &data_type in DataType::ALL.iter().filter(|&&data_type| stream_of(data_type) == self.stream) {
            let table = Target::Events(data_type).table();
            high_marks[data_type] = self.shared.storage.highest_sequence(table).await?;
        }
        let is_hot_empty = high_marks.values().all(|&mark| mark == 0);
        if is_hot_empty && self.ids.is_fresh() {
            self.ids.is_complete_since(i64::MIN);
        }
        self.risk.begin(delivered, high_marks);
        Ok(())
    }

    /// Hot may lack rows of known ids. No batch may be open or in flight.
    pub fn forget(&mut self) {
        self.ids = RecentIds::new(self.shared.config.batch.recent_event_ids);
    }

    /// The stream was recreated. No batch may be open or in flight.
    pub fn begin_stream(&mut self) {
        self.ids.forget_sequences();
        self.finished.clear();
    }

    pub fn has_room_for_duplicates(&self, data_type: DataType) -> bool {
        self.pending.has_room(data_type)
    }

    pub fn take(&mut self, message: jetstream::Message, delivery: Delivery) {
        let message = message.message;
        let data_type = message::data_type(&message.subject);
        self.oldest_us = self.oldest_kept_us();
        if let Some(published_ns) = self.risk.first_new(delivery) {
            self.ids.is_complete_since(published_ns);
        }
        match message::correction_mark(&message) {
            None => self.add_events(message, delivery),
            Some(mark) => self.add_corrected(message, delivery, mark),
        }
        if let Some(data_type) = data_type {
            self.risk.taken(data_type, delivery.stream_seq);
        }
    }

    /// Adds a row for each event of a message: its own, that of a duplicate, or a dead letter.
    fn add_events(&mut self, message: Message, delivery: Delivery) {
        let payload = message.payload.clone();
        let read = message::split_payload(&message, &payload).and_then(|parts| {
            message::read(&message, &parts, delivery.published_ns).map(|events| (parts, events))
        });
        let (parts, events) = match read {
            Ok(read) => read,
            Err(refused) => return self.refuse_message(message, delivery, &refused),
        };
        let is_needed = |one: &Result<Event<'_>, RefusalReason>| match one {
            // A duplicate takes the place of an event that is refused.
            Ok(event) => !matches!(self.ids.state_of(event.header.event_id), IdState::Stored(_)),
            Err(_) => true,
        };
        // All of them: reads that wait for memory go on side by side here, and one after the other below.
        let needed = events.iter().filter(|one| is_needed(one)).count();
        let message = if needed > 0 {
            OpenMessage::new(message, events.len())
        } else {
            OpenMessage::without_payload(message, events.len())
        };
        // Header of the event with the last row.
        let mut last_row = None;
        for (place, event) in events.iter().enumerate() {
            self.events_of_turn += 1;
            let one = EventOfMessage { message: &message, place, delivery };
            let added = match event {
                Ok(event) => {
                    let header = &event.header;
                    let before = events.iter().take(place).flatten().map(|event| &event.header);
                    self.add_event(event, one, last_row, || {
                        let same = before.clone().filter(|other| other.event_id == header.event_id);
                        Repetition::of(same.map(|other| other.received_at_ns), header.received_at_ns)
                    })
                }
                Err(refused) => Err(refused.clone()),
            };
            match added {
                Ok(true) => last_row = event.as_ref().ok().map(|event| &event.header),
                Ok(false) => {}
                Err(refused) => self.add_dead_letter(one, &parts.alone(place), &refused),
            }
        }
    }

    /// Adds the row of an event or duplicate: true for that of an event. `last_row`: header of the last row of its table, if it is of this message.
    /// `repetition`: of events before it in the message.
    fn add_event(
        &mut self,
        event: &Event<'_>,
        one: EventOfMessage<'_>,
        last_row: Option<&Header<'_>>,
        repetition: impl Fn() -> Repetition,
    ) -> Result<bool, RefusalReason> {
        let EventOfMessage { message, place, delivery } = one;
        let header = &event.header;
        let (id, timestamp_us, received_at_ns) =
            (header.event_id, header.timestamp_us, header.received_at_ns);
        match self.ids.state_of(id) {
            IdState::New => {}
            state => {
                match repetition() {
                    Repetition::OfRecord => self.finish(one),
                    // An edge counts each record.
                    Repetition::OfEvent => {
                        let row = CopyRow::of(event, delivery.stream_seq, state.found());
                        self.add_known(one, id, state, Some(row));
                    }
                    Repetition::None => {
                        let row = self.duplicate_row(event, delivery.stream_seq, state);
                        self.add_known(one, id, state, row);
                    }
                }
                return Ok(false);
            }
        }
        if let Some(reason) = self.expired(timestamp_us) {
            return Err((Refusal::Expired, reason));
        }
        let (data_type, complete_since_ns) = (event.body.data_type(), self.ids.complete_since_ns());
        let may_be_stored = self.risk.may_be_stored(header, delivery, data_type, complete_since_ns);
        let batch = self.open.of(Target::Events(data_type));
        let encoded = match last_row {
            Some(before) => encode_next_event(event, before, delivery.stream_seq, &mut batch.rows),
            None => encode_event(event, delivery.stream_seq, &mut batch.rows),
        };
        encoded.map_err(|error| (Refusal::Value, error.to_string()))?;
        self.edge_to_broker.observe(seconds(delivery.published_ns.saturating_sub(received_at_ns)));
        self.ids.begin(id, delivery.stream_seq);
        batch.push(BatchEntry {
            message: Arc::clone(message),
            place,
            event_id: id,
            stream_seq: delivery.stream_seq,
            timestamp_us,
            received_at_ns,
            published_ns: delivery.published_ns,
            may_be_stored,
        });
        Ok(true)
    }

    /// Adds an event of a correction, which waits in a table of its own: it is no copy of the event that it corrects.
    fn add_corrected(
        &mut self,
        message: Message,
        delivery: Delivery,
        mark: Result<CorrectionMark, RefusalReason>,
    ) {
        self.events_of_turn += 1;
        let read =
            mark.and_then(|mark| Ok((mark, message::read_corrected(&message, delivery.published_ns)?)));
        let added = read.and_then(|(mark, event)| {
            let stream_seq = delivery.stream_seq;
            // What no row can hold would stop the correction.
            let target = Target::Events(event.body.data_type());
            encode_event(&event, stream_seq, &mut TableRows::new(target.columns()))
                .map_err(|error| (Refusal::Value, error.to_string()))?;
            let (stream, payload) = (self.stream, &*message.payload);
            let corrected = CorrectedEvent { mark: &mark, event: &event, stream, stream_seq, payload };
            encode_corrected_event(&corrected, &mut self.open.of(Target::CorrectedEvents).rows);
            Ok(event.header.event_id)
        });
        match added {
            Ok(event_id) => {
                let message = OpenMessage::without_payload(message, 1);
                let entry = BatchEntry::without_event((message, 0), event_id, delivery);
                self.open.of(Target::CorrectedEvents).push(entry);
            }
            Err(refused) => self.refuse_message(message, delivery, &refused),
        }
    }

    fn oldest_kept_us(&self) -> i64 {
        let kept = self.shared.config.hot_ttl().saturating_sub(limits::TTL_MARGIN);
        // The server deletes by its own clock.
        let now_us = self.shared.hot_clock.now_ms().saturating_mul(1_000);
        now_us.saturating_sub(time::nanos(kept) / 1_000)
    }

    /// Why hot would not keep a row of this time until it is copied to cold.
    fn expired(&self, timestamp_us: i64) -> Option<String> {
        let (oldest_us, ttl_days) = (self.oldest_us, self.shared.config.clickhouse.hot_ttl_days);
        (timestamp_us < oldest_us).then(|| {
            format!("timestamp: is {timestamp_us}, allowed: from {oldest_us} on, {EXPIRED} {ttl_days} days")
        })
    }

    fn duplicate_row<'e>(
        &self,
        event: &'e Event<'_>,
        stream_seq: u64,
        state: IdState,
    ) -> Option<CopyRow<'e>> {
        let is_own = state == IdState::Stored(stream_seq);
        if is_own || self.pending.is_pending(stream_seq, event.header.event_id) {
            return None;
        }
        Some(CopyRow::of(event, stream_seq, state.found()))
    }

    /// Takes an event that is known: a redelivery or a duplicate.
    fn add_known(&mut self, one: EventOfMessage<'_>, id: EventId, state: IdState, row: Option<CopyRow<'_>>) {
        let EventOfMessage { message, place, delivery } = one;
        match state {
            IdState::Stored(_) => self.found_recent += 1,
            _ => self.found_in_flight += 1,
        }
        match (state, row) {
            // Both stay unacknowledged until the event is stored.
            (IdState::InFlight(_), Some(row)) => {
                let row = row.into_owned();
                let copy = PendingDuplicate { message: Arc::clone(message), place, delivery, row };
                self.pending.keep(id, copy);
            }
            (_, Some(row)) => self.add_copy(one, id, &row),
            // The row of this very message is stored.
            (_, None) => {
                self.shared.metrics.processed.inc();
                self.finish(one);
            }
        }
    }

    /// An event of a message has its row.
    fn finish(&mut self, one: EventOfMessage<'_>) {
        self.finish_some(one, 1);
    }

    /// So many events of a message have their rows.
    fn finish_some(&mut self, one: EventOfMessage<'_>, count: usize) {
        let EventOfMessage { message, delivery, .. } = one;
        if message.finish_events(count) {
            let data_type = message::data_type(&message.subject);
            let Delivery { stream_seq, published_ns, .. } = delivery;
            self.finished.push(FinishedMessage { data_type, stream_seq, published_ns });
        }
    }

    fn add_copy(&mut self, one: EventOfMessage<'_>, id: EventId, row: &CopyRow<'_>) {
        self.pending.begin(one.delivery.stream_seq, id);
        let batch = self.open.of(Target::Copies);
        batch.copies.add(row);
        batch.push(BatchEntry::without_event((Arc::clone(one.message), one.place), id, one.delivery));
    }

    /// Dead letter of a whole message.
    fn refuse_message(&mut self, message: Message, delivery: Delivery, refused: &RefusalReason) {
        let payload = message.payload.clone();
        let message = OpenMessage::new(message, 1);
        self.add_dead_letter(EventOfMessage { message: &message, place: 0, delivery }, &payload, refused);
    }

    /// `payload`: of a message with this event only.
    fn add_dead_letter(
        &mut self,
        one: EventOfMessage<'_>,
        payload: &[u8],
        (refusal, reason): &(Refusal, String),
    ) {
        self.shared.metrics.dead_letters.with_label_values(&[refusal.as_str()]).inc();
        let EventOfMessage { message, place, delivery } = one;
        let stream_seq = delivery.stream_seq;
        if let Some(held_back) = self.refusal_lines.allow(Instant::now()) {
            let kind = refusal.as_str();
            tracing::warn!(
                stream = self.stream,
                stream_seq,
                place,
                kind,
                reason,
                held_back,
                "event refused; stored in dead_letters"
            );
        }
        let batch = self.open.of(Target::DeadLetters);
        let headers = message.headers.as_ref();
        let letter = DeadLetter {
            stream: self.stream,
            stream_seq,
            subject: &message.subject,
            content_type: message::header(headers, "Content-Type"),
            message_id: message::header(headers, "Nats-Msg-Id"),
            reason,
            payload,
        };
        encode_dead_letter(&letter, &mut batch.rows);
        let event_id = EventId(xxh3_128(payload));
        batch.push(BatchEntry::without_event((Arc::clone(message), place), event_id, delivery));
    }

    pub fn end_turn(&mut self) {
        self.edge_to_broker.flush();
        self.events_of_turn = 0;
        let (recent, in_flight) =
            (std::mem::take(&mut self.found_recent), std::mem::take(&mut self.found_in_flight));
        let counters = &self.shared.metrics.duplicates;
        counters.with_label_values(&[self.stream, FOUND[0]]).inc_by(recent);
        counters.with_label_values(&[self.stream, FOUND[1]]).inc_by(in_flight);
    }

    /// Processes the result of an insert. Duplicates and refused rows continue to their own tables.
    pub fn apply_result(&mut self, result: InsertResult) {
        let InsertResult { target, stored, copies, refused, .. } = result;
        let count = whole(stored.len());
        match target {
            Target::DeadLetters => self.shared.metrics.failed.inc_by(count),
            Target::CorrectedEvents => self.shared.metrics.processed.inc_by(count),
            Target::Copies => {
                self.shared.metrics.processed.inc_by(count);
                stored.iter().for_each(|entry| self.pending.end(entry.stream_seq, entry.event_id));
            }
            Target::Events(data_type) => {
                self.shared.metrics.processed.inc_by(count);
                self.cover(data_type, &stored);
                for some in stored.chunks(IDS_READ_AHEAD) {
                    self.ids.read_ahead(some.iter().map(|entry| entry.event_id));
                    for entry in some {
                        self.event_is_stored(entry, entry.stream_seq);
                    }
                }
            }
        }
        for of_message in stored.chunk_by(|one, next| Arc::ptr_eq(&one.message, &next.message)) {
            if let Some(first) = of_message.first() {
                self.finish_some(event_of(first), of_message.len());
            }
        }
        for (entry, stream_seq) in copies {
            self.event_is_stored(&entry, stream_seq);
            self.add_stored_duplicate(&entry);
        }
        let mut waiting = Vec::new();
        for (entry, reason) in refused {
            self.ids.refused(entry.event_id);
            waiting.extend(self.pending.take(entry.event_id));
            let payload = message::alone(&entry.message, entry.place);
            self.add_dead_letter(event_of(&entry), &payload, &(Refusal::Storage, reason));
        }
        waiting.into_iter().for_each(|copy| self.take_again(copy));
    }

    fn cover(&self, data_type: DataType, stored: &[BatchEntry]) {
        let last_success_ns = clock::now_ns();
        for of_subject in stored.chunk_by(BatchEntry::has_subject_of) {
            let Some(first) = of_subject.first() else { continue };
            let newest_timestamp_us =
                of_subject.iter().map(|entry| entry.timestamp_us).max().unwrap_or_default();
            let arrived = Arrived { last_success_ns, newest_timestamp_us, events: whole(of_subject.len()) };
            self.shared.coverage.stored(data_type, exchange_of(&first.message.subject), arrived);
        }
    }

    /// The event for which a duplicate waited is refused: the duplicate is checked on its own.
    fn take_again(&mut self, copy: PendingDuplicate) {
        let PendingDuplicate { message, place, delivery, row } = copy;
        self.pending.end(delivery.stream_seq, row.event_id);
        let one = EventOfMessage { message: &message, place, delivery };
        let added = message::split(&message).and_then(|parts| {
            self.add_event(&message::decode(&parts, place)?, one, None, || Repetition::None)
        });
        if let Err(refused) = added {
            self.add_dead_letter(one, &message::alone(&message, place), &refused);
        }
    }

    fn event_is_stored(&mut self, entry: &BatchEntry, stream_seq: u64) {
        let id = entry.event_id;
        self.ids.stored(id, stream_seq, entry.published_ns);
        for PendingDuplicate { message, place, delivery, row } in self.pending.take(id) {
            // A redelivery of the message, and not a record that repeats the event in it.
            let is_own = entry.stream_seq != stream_seq || entry.received_at_ns == row.received_at_ns;
            if delivery.stream_seq == stream_seq && is_own {
                self.pending.end(stream_seq, id);
                self.finish(EventOfMessage { message: &message, place, delivery });
            } else {
                self.add_copy(EventOfMessage { message: &message, place, delivery }, id, &row);
            }
        }
    }

    fn add_stored_duplicate(&mut self, entry: &BatchEntry) {
        let event = message::split(&entry.message).and_then(|parts| message::decode(&parts, entry.place));
        match event {
            Ok(event) => {
                let row = CopyRow::of(&event, entry.stream_seq, "stored");
                self.add_copy(event_of(entry), entry.event_id, &row);
            }
            Err(refused) => {
                let payload = message::alone(&entry.message, entry.place);
                self.add_dead_letter(event_of(entry), &payload, &refused);
            }
        }
    }
}

/// One event of a delivered message.
#[derive(Clone, Copy)]
struct EventOfMessage<'a> {
    message: &'a Arc<OpenMessage>,
    place: usize,
    delivery: Delivery,
}

fn event_of(entry: &BatchEntry) -> EventOfMessage<'_> {
    let BatchEntry { message, place, stream_seq, published_ns, .. } = entry;
    let delivery = Delivery { stream_seq: *stream_seq, is_redelivered: false, published_ns: *published_ns };
    EventOfMessage { message, place: *place, delivery }
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
