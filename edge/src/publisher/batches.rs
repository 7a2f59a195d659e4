//! Messages being formed: packed events of one subject that are ready together go as one message, in their order.
//!
//! A message leaves when it is full, when an event cannot join it, or when it has waited for the linger; without one, after each read of
//! the queue. JSON events go alone and wait for nothing. What is here counts as in flight in the queue.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_nats::header::{HeaderName, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, HeaderValue, Subject};
use bytes::Bytes;
use marketprism_schema::{EventId, PackedEvents, WireForm, split_packed_header};

use crate::broker::message_bytes;
use crate::queue::{EventRecord, QueueEntry};

/// Payload of a message with several events, a sixteenth of what brokers take by default. Full: the next event begins another one.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
pub(super) const CONTENT_TYPE: HeaderName = HeaderName::from_static("Content-Type");
/// Most bytes of a message's headers.
const MESSAGE_HEADER_BYTES: usize = 512;

#[derive(Debug, Clone, Copy)]
pub(super) struct MessageLimits {
    /// Longest wait for more events of the subject.
    pub(super) linger: Duration,
    pub(super) events: usize,
}

/// A message whose content no longer changes, so that it has the same id each time it is sent.
#[derive(Debug, Clone)]
pub(super) struct OutgoingMessage {
    pub(super) subject: Subject,
    pub(super) form: WireForm,
    /// `None`: central looks the events up in hot.
    pub(super) message_id: Option<EventId>,
    pub(super) payload: Bytes,
    /// Its events. Of several, the payloads are in that of the message only.
    pub(super) entries: Vec<QueueEntry>,
    /// Against the bound of bytes in flight.
    pub(super) size: usize,
    /// Its first event was read from the queue.
    pub(super) opened: Instant,
}

#[derive(Debug)]
struct OpenBatch {
    opened: Instant,
    /// Of the payload of each of its events.
    header_bytes: usize,
    payload_bytes: usize,
    entries: Vec<QueueEntry>,
    size: usize,
}

#[derive(Debug)]
pub(super) struct MessageBatches {
    limits: MessageLimits,
    /// Of the payload of several events.
    bytes_max: usize,
    open: BTreeMap<Subject, OpenBatch>,
    size: usize,
}

impl MessageBatches {
    pub(super) fn new(limits: MessageLimits) -> Self {
        Self { limits, bytes_max: MESSAGE_BYTES_MAX, open: BTreeMap::new(), size: 0 }
    }

    pub(super) const fn set_limits(&mut self, limits: MessageLimits) {
        self.limits = limits;
    }

    /// `max_payload` of the broker; 0: not known yet.
    pub(super) fn set_broker_bytes(&mut self, bytes: usize) {
        let of_broker = if bytes == 0 { usize::MAX } else { bytes.saturating_sub(MESSAGE_HEADER_BYTES) };
        self.bytes_max = MESSAGE_BYTES_MAX.min(of_broker);
    }

    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Bytes of their events.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Adds an event; messages that are to be sent go to `out`.
    pub(super) fn add(&mut self, entry: QueueEntry, now: Instant, out: &mut Vec<OutgoingMessage>) {
        let record = &entry.record;
        let header_bytes = match record.form {
            WireForm::Protobuf if self.limits.events > 1 => {
                split_packed_header(&record.payload).map(|(header, _)| header.len()).ok()
            }
            WireForm::Protobuf | WireForm::Json => None,
        };
        let fits = self.open.get(&record.subject).is_some_and(|batch| {
            header_bytes.is_some_and(|header_bytes| batch.may_join(record, header_bytes, self.bytes_max))
        });
        if !fits {
            out.extend(self.close(&record.subject.clone()));
        }
        let (subject, size) = (record.subject.clone(), record.size());
        let Some(header_bytes) = header_bytes else {
            out.extend(OutgoingMessage::of(vec![entry], (0, size), now));
            return;
        };
        self.size += size;
        let batch = self.open.entry(subject.clone()).or_insert_with(|| OpenBatch::new(now, header_bytes));
        batch.add(entry, size);
        if batch.entries.len() >= self.limits.events {
            out.extend(self.close(&subject));
        }
    }

    /// Messages that have waited long enough; `all`: every one.
    pub(super) fn take_due(&mut self, now: Instant, all: bool, out: &mut Vec<OutgoingMessage>) {
        if self.open.is_empty() {
            return;
        }
        let linger = self.limits.linger;
        let is_due = |batch: &OpenBatch| all || now.saturating_duration_since(batch.opened) >= linger;
        let due: Vec<Subject> =
            self.open.iter().filter(|(_, batch)| is_due(batch)).map(|(subject, _)| subject.clone()).collect();
        for subject in due {
            out.extend(self.close(&subject));
        }
    }

    /// Since when the oldest message waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.open.values().map(|batch| batch.opened).min()
    }

    pub(super) const fn linger(&self) -> Duration {
        self.limits.linger
    }

    fn close(&mut self, subject: &Subject) -> Option<OutgoingMessage> {
        let OpenBatch { entries, header_bytes, size, opened, .. } = self.open.remove(subject)?;
        self.size = self.size.saturating_sub(size);
        OutgoingMessage::of(entries, (header_bytes, size), opened)
    }
}

impl OpenBatch {
    const fn new(opened: Instant, header_bytes: usize) -> Self {
        Self { opened, header_bytes, payload_bytes: 0, entries: Vec::new(), size: 0 }
    }

    fn may_join(&self, record: &EventRecord, header_bytes: usize, bytes_max: usize) -> bool {
        let added = record.payload.len().saturating_sub(header_bytes);
        let Some(QueueEntry { record: first, .. }) = self.entries.first() else { return true };
        self.payload_bytes.saturating_add(added) <= bytes_max
            && first.is_resend == record.is_resend
            && first.payload.get(..self.header_bytes) == record.payload.get(..header_bytes)
    }

    fn add(&mut self, entry: QueueEntry, size: usize) {
        let header_bytes = if self.entries.is_empty() { 0 } else { self.header_bytes };
        self.payload_bytes += entry.record.payload.len().saturating_sub(header_bytes);
        self.size += size;
        self.entries.push(entry);
    }
}

impl OutgoingMessage {
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(id) = self.message_id {
            headers.insert(NATS_MESSAGE_ID, HeaderValue::from(id.to_string()));
        }
        if let Some(content_type) = self.form.header() {
            headers.insert(CONTENT_TYPE, HeaderValue::from(content_type));
        }
        headers
    }

    /// As the stream counts them.
    pub(super) fn bytes(&self) -> usize {
        message_bytes(&self.headers(), &self.payload)
    }

    /// `None`: without an entry.
    fn of(
        mut entries: Vec<QueueEntry>,
        (header_bytes, size): (usize, usize),
        opened: Instant,
    ) -> Option<Self> {
        let first = &entries.first()?.record;
        let (subject, form, is_resend) = (first.subject.clone(), first.form, first.is_resend);
        let id = EventId::of_message(entries.iter().map(|entry| entry.record.event_id));
        let mut payload = first.payload.clone();
        if entries.len() > 1 {
            let mut joined = Vec::with_capacity(size);
            for entry in &mut entries {
                let events = std::mem::take(&mut entry.record.payload);
                let from = if joined.is_empty() { 0 } else { header_bytes };
                joined.extend_from_slice(events.get(from..).unwrap_or_default());
            }
            joined.shrink_to_fit();
            payload = joined.into();
        }
        Some(Self { subject, form, message_id: (!is_resend).then_some(id), payload, entries, size, opened })
    }

    /// Each of its events in a message of its own.
    pub(super) fn apart(self) -> Vec<Self> {
        let Self { payload, entries, opened, .. } = self;
        let Ok(parts) = PackedEvents::split(&payload) else { return Vec::new() };
        let alone = |(place, mut entry): (usize, QueueEntry)| {
            entry.record.payload = parts.alone(place).into();
            let size = entry.record.size();
            Self::of(vec![entry], (0, size), opened)
        };
        entries.into_iter().enumerate().filter_map(alone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::inflight::{InFlight, RetryReason};
    use super::*;
    use crate::queue::QueuePosition;
    use marketprism_schema::{
        Body, DataSource, DataType, Decimal, Event, Header, MarketType, Side, Trade, encode_protobuf,
    };

    const LINGER: Duration = Duration::from_millis(5);
    const LIMITS: MessageLimits = MessageLimits { linger: LINGER, events: 4 };

    fn entry(position: u64, symbol: &'static str, change: impl FnOnce(&mut Header<'static>)) -> QueueEntry {
        let mut header = Header {
            exchange: "sim_spot".into(),
            market_type: MarketType::Spot,
            symbol: symbol.into(),
            venue_symbol: symbol.into(),
            timestamp_us: 1,
            received_at_ns: 2,
            event_id: EventId(u128::from(position)),
            edge: "e".into(),
            region: "r".into(),
            adapter: "a".into(),
            data_source: DataSource::Live,
        };
        change(&mut header);
        let one = Decimal { mantissa: 1, scale: 0 };
        let trade = Trade { trade_id: "7".into(), price: one, quantity: one, side: Side::Buy };
        let mut payload = Vec::new();
        encode_protobuf(&Event { header, body: Body::Trade(trade) }, &mut payload);
        let record = EventRecord {
            form: WireForm::Protobuf,
            payload: payload.into(),
            ..EventRecord::fixture(position, DataType::Trade, symbol)
        };
        QueueEntry { position: QueuePosition(position), record }
    }

    fn plain(position: u64, symbol: &'static str) -> QueueEntry {
        entry(position, symbol, |_| {})
    }

    fn ids(messages: &[OutgoingMessage]) -> Vec<Vec<u64>> {
        let of = |message: &OutgoingMessage| message.entries.iter().map(|entry| entry.position.0).collect();
        messages.iter().map(of).collect()
    }

    fn added(batches: &mut MessageBatches, entries: Vec<QueueEntry>, now: Instant) -> Vec<OutgoingMessage> {
        let mut out = Vec::new();
        entries.into_iter().for_each(|entry| batches.add(entry, now, &mut out));
        out
    }

    #[test]
    fn events_of_a_subject_share_a_message_until_it_is_full_or_has_waited_for_the_linger() {
        let (now, mut batches) = (Instant::now(), MessageBatches::new(LIMITS));
        assert_eq!(batches.oldest(), None);
        let entries = (1..=5).map(|n| plain(n, "A-B")).chain([plain(6, "C-D")]).collect();
        let mut out = added(&mut batches, entries, now);
        assert_eq!(ids(&out), [[1, 2, 3, 4]], "full");
        assert_eq!((batches.len(), batches.oldest()), (2, Some(now)));
        out.clear();
        batches.take_due(now + LINGER / 2, false, &mut out);
        assert!(out.is_empty());
        batches.take_due(now + LINGER, false, &mut out);
        let mut found = ids(&out);
        found.sort();
        assert_eq!(found, [[5], [6]]);
        assert_eq!((batches.len(), batches.size()), (0, 0));
    }

    #[test]
    fn a_joined_message_has_the_events_in_their_order_and_the_id_of_its_content() {
        let (now, mut batches) = (Instant::now(), MessageBatches::new(LIMITS));
        let out = added(&mut batches, (1..=4).map(|n| plain(n, "A-B")).collect(), now);
        let [message] = &out[..] else { panic!("{out:?}") };
        let events = WireForm::Protobuf.decode_all(&message.payload).unwrap();
        let found: Vec<_> = events.iter().map(|event| event.header.event_id.0).collect();
        assert_eq!(found, [1, 2, 3, 4]);
        assert_eq!(message.message_id, Some(EventId::of_message((1..=4).map(EventId))));
        let apart = message.clone().apart();
        assert_eq!(ids(&apart), [[1], [2], [3], [4]]);
        for (alone, n) in apart.iter().zip(1..) {
            assert_eq!(alone.payload, plain(n, "A-B").record.payload);
            assert_eq!(alone.message_id, Some(EventId(u128::from(n))), "as if it had never been joined");
        }
    }

    /// A message that was sent twice is refused twice.
    #[test]
    fn the_second_refusal_of_a_message_costs_no_event_that_was_not_tried_alone() {
        let (now, mut batches) = (Instant::now(), MessageBatches::new(LIMITS));
        let mut out = added(&mut batches, (1..=4).map(|n| plain(n, "A-B")).collect(), now);
        let mut window = InFlight::new(4, 1 << 20, LINGER);
        let first = window.insert(out.remove(0), now).unwrap();
        assert!(window.take_apart(first, now) && window.take_apart(first, now));
        let due = [1, 2, 3, 4].map(|n| (QueuePosition(n), RetryReason::Refused));
        assert_eq!(window.due(now, 10), due);
        window.sent_again(first, now);
        assert!(!window.take_apart(first, now), "now it was tried alone");
    }

    /// Its events left the window with it, in no count.
    #[test]
    fn a_refused_message_that_cannot_be_taken_apart_stays_in_the_window_to_be_counted_as_lost() {
        let (now, mut batches) = (Instant::now(), MessageBatches::new(LIMITS));
        let mut out = added(&mut batches, (1..=4).map(|n| plain(n, "A-B")).collect(), now);
        let mut window = InFlight::new(4, 1 << 20, LINGER);
        let torn = OutgoingMessage { payload: Bytes::from_static(b"torn"), ..out.remove(0) };
        let first = window.insert(torn, now).unwrap();
        assert!(!window.take_apart(first, now));
        assert_eq!(window.get(first).map(|flight| flight.message.entries.len()), Some(4));
    }

    #[test]
    fn an_event_that_cannot_join_sends_those_before_it_first() {
        let (now, mut batches) = (Instant::now(), MessageBatches::new(LIMITS));
        let json = |n| QueueEntry {
            record: EventRecord::fixture(n, DataType::Trade, "A-B"),
            position: QueuePosition(n),
        };
        let other_adapter = entry(3, "A-B", |header| header.adapter = "b".into());
        let mut resent = plain(5, "A-B");
        resent.record.is_resend = true;
        let entries = vec![plain(1, "A-B"), plain(2, "A-B"), other_adapter, json(4), resent, plain(6, "A-B")];
        let mut out = added(&mut batches, entries, now);
        assert_eq!(ids(&out), [vec![1, 2], vec![3], vec![4], vec![5]]);
        assert_eq!(out[3].message_id, None, "the broker would drop it");
        out.clear();
        batches.take_due(now, true, &mut out);
        assert_eq!(ids(&out), [[6]]);
        batches.set_broker_bytes(MESSAGE_HEADER_BYTES + plain(7, "A-B").record.payload.len() + 1);
        let out = added(&mut batches, vec![plain(7, "A-B"), plain(8, "A-B")], now);
        assert_eq!(ids(&out), [[7]], "bounded in bytes");
        let mut single = MessageBatches::new(MessageLimits { events: 1, ..LIMITS });
        assert_eq!(ids(&added(&mut single, vec![plain(1, "A-B"), plain(2, "A-B")], now)), [[1], [2]]);
        let mut fewer = MessageBatches::new(LIMITS);
        assert_eq!(ids(&added(&mut fewer, vec![plain(1, "A-B")], now)), Vec::<Vec<u64>>::new());
        fewer.set_limits(MessageLimits { events: 1, ..LIMITS });
        assert_eq!(
            ids(&added(&mut fewer, vec![plain(2, "A-B")], now)),
            [[1], [2]],
            "a limit that was lowered"
        );
    }
}
