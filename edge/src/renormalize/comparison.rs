//! Comparison of the events that two versions of an adapter give for the same frames, by event id. Bounded: an event that one version gives
//! much later than the other one is withdrawn, and added.

use std::collections::{HashMap, VecDeque};

use async_nats::Subject;
use bytes::Bytes;
use marketprism_schema::{CorrectionKind, DataType, DataTypeMap, EventId, Fingerprint, TypeCorrection};
use xxhash_rust::xxh3::xxh3_128;

use crate::queue::EventRecord;

/// Time of the frames, and bytes, for which an event that only one version has given waits for the other one. More: the oldest counts as withdrawn
/// or added.
const WAIT_NS: i64 = 60_000_000_000;
const WAITING_BYTES: usize = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AdapterSide {
    Old,
    New,
}

/// An event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CorrectedRecord {
    pub(super) kind: CorrectionKind,
    pub(super) subject: Subject,
    pub(super) event_id: EventId,
    /// Venue time of the old version.
    pub(super) was_at_us: i64,
    pub(super) received_at_ns: i64,
    pub(super) payload: Bytes,
}

/// An event that only one version has given yet.
#[derive(Debug)]
struct WaitingEvent {
    side: AdapterSide,
    data_type: DataType,
    subject: Subject,
    timestamp_us: i64,
    received_at_ns: i64,
    /// A copy: a slice would keep the encoder's whole buffer.
    payload: Bytes,
    number: u64,
}

#[derive(Debug, Default)]
pub(super) struct VersionComparison {
    waiting: HashMap<EventId, WaitingEvent>,
    /// Event, number and frame's time, the oldest first.
    order: VecDeque<(EventId, u64, i64)>,
    bytes: usize,
    last_number: u64,
    old: DataTypeMap<Fingerprint>,
    new: DataTypeMap<Fingerprint>,
    counts: DataTypeMap<[u64; 3]>,
    /// States of books that only the new version has: which states are published is a matter of time, so none is added.
    pub(super) new_books: u64,
}

impl VersionComparison {
    pub(super) fn add(&mut self, side: AdapterSide, record: &EventRecord, out: &mut Vec<CorrectedRecord>) {
        let EventRecord { event_id, data_type, .. } = *record;
        let digests = match side {
            AdapterSide::Old => &mut self.old,
            AdapterSide::New => &mut self.new,
        };
        digests[data_type].add(EventId(xxh3_128(&record.payload)));
        let is_other = self.waiting.get(&event_id).is_some_and(|waiting| waiting.side != side);
        let Some(other) = is_other.then(|| self.take(event_id)).flatten() else {
            return self.wait(side, record, out);
        };
        if other.payload == record.payload {
            return;
        }
        let (was_at_us, received_at_ns, subject, payload) = match side {
            AdapterSide::New => {
                (other.timestamp_us, record.received_at_ns, record.subject.clone(), record.payload.clone())
            }
            AdapterSide::Old => (record.timestamp_us, other.received_at_ns, other.subject, other.payload),
        };
        let kind = CorrectionKind::Changed;
        self.count(data_type, kind);
        out.push(CorrectedRecord { kind, subject, event_id, was_at_us, received_at_ns, payload });
    }

    /// Settles the events that the other version has not given within the wait.
    pub(super) fn settle(&mut self, now_ns: i64, out: &mut Vec<CorrectedRecord>) {
        while let Some((event_id, number, at_ns)) = self.order.front().copied() {
            if self.bytes <= WAITING_BYTES && at_ns.saturating_add(WAIT_NS) > now_ns {
                break;
            }
            self.order.pop_front();
            if self.waiting.get(&event_id).is_some_and(|waiting| waiting.number == number)
                && let Some(event) = self.take(event_id)
            {
                self.settle_event(event_id, event, out);
            }
        }
    }

    pub(super) fn end(&mut self, out: &mut Vec<CorrectedRecord>) {
        self.settle(i64::MAX, out);
    }

    /// Types that either version gives.
    pub(super) fn types(&self) -> Vec<TypeCorrection> {
        let of = |data_type: DataType| {
            let [changed, added, withdrawn] = self.counts[data_type];
            let (old, new) = (self.old[data_type], self.new[data_type]);
            TypeCorrection { data_type, old, new, changed, added, withdrawn }
        };
        DataType::ALL.iter().copied().map(of).filter(|one| one.old.count + one.new.count > 0).collect()
    }

    fn take(&mut self, event_id: EventId) -> Option<WaitingEvent> {
        let event = self.waiting.remove(&event_id)?;
        self.bytes = self.bytes.saturating_sub(event.payload.len());
        Some(event)
    }

    /// Of two events of one version with one id the newer one counts, as the row that replaces another does.
    fn wait(&mut self, side: AdapterSide, record: &EventRecord, out: &mut Vec<CorrectedRecord>) {
        self.take(record.event_id);
        self.last_number += 1;
        let number = self.last_number;
        let event = WaitingEvent {
            side,
            data_type: record.data_type,
            subject: record.subject.clone(),
            timestamp_us: record.timestamp_us,
            received_at_ns: record.received_at_ns,
            payload: Bytes::copy_from_slice(&record.payload),
            number,
        };
        self.bytes = self.bytes.saturating_add(event.payload.len());
        self.waiting.insert(record.event_id, event);
        self.order.push_back((record.event_id, number, record.received_at_ns));
        if self.bytes > WAITING_BYTES {
            self.settle(i64::MIN, out);
        }
    }

    fn settle_event(&mut self, event_id: EventId, event: WaitingEvent, out: &mut Vec<CorrectedRecord>) {
        let kind = match event.side {
            AdapterSide::Old => CorrectionKind::Withdrawn,
            AdapterSide::New if event.data_type == DataType::OrderBook => {
                self.new_books += 1;
                return;
            }
            AdapterSide::New => CorrectionKind::Added,
        };
        self.count(event.data_type, kind);
        let WaitingEvent { subject, timestamp_us: was_at_us, received_at_ns, payload, .. } = event;
        out.push(CorrectedRecord { kind, subject, event_id, was_at_us, received_at_ns, payload });
    }

    fn count(&mut self, data_type: DataType, kind: CorrectionKind) {
        let [changed, added, withdrawn] = &mut self.counts[data_type];
        match kind {
            CorrectionKind::Changed => *changed += 1,
            CorrectionKind::Added => *added += 1,
            CorrectionKind::Withdrawn => *withdrawn += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64, data_type: DataType, at_ns: i64, payload: &str) -> EventRecord {
        let received_at_ns = at_ns;
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        EventRecord { received_at_ns, payload, ..EventRecord::fixture(id, data_type, "A-B") }
    }

    fn kinds(out: &[CorrectedRecord]) -> Vec<(u128, CorrectionKind)> {
        out.iter().map(|one| (one.event_id.0, one.kind)).collect()
    }

    #[test]
    fn only_what_differs_is_published_and_both_digests_have_every_event() {
        let (mut comparison, mut out) = (VersionComparison::default(), Vec::new());
        let trade = |id, payload: &str| record(id, DataType::Trade, 5, payload);
        for (id, payload) in [(1, "same"), (2, "old"), (3, "withdrawn")] {
            comparison.add(AdapterSide::Old, &trade(id, payload), &mut out);
        }
        for (id, payload) in [(1, "same"), (2, "new"), (4, "come")] {
            comparison.add(AdapterSide::New, &trade(id, payload), &mut out);
        }
        assert_eq!(kinds(&out), [(2, CorrectionKind::Changed)]);
        assert_eq!(&*out[0].payload, b"new");
        comparison.settle(5 + WAIT_NS - 1, &mut out);
        assert_eq!(out.len(), 1, "the other version may still give it");
        comparison.settle(5 + WAIT_NS, &mut out);
        assert_eq!(kinds(&out[1..]), [(3, CorrectionKind::Withdrawn), (4, CorrectionKind::Added)]);
        let [types] = &comparison.types()[..] else { panic!("one type") };
        assert_eq!((types.changed, types.added, types.withdrawn), (1, 1, 1));
        assert_eq!((types.old.count, types.new.count), (3, 3));
        assert_ne!(types.old, types.new);
        assert_eq!(comparison.waiting.len() + comparison.bytes, 0);
    }

    #[test]
    fn no_state_of_a_book_is_added_and_too_many_events_do_not_wait() {
        let (mut comparison, mut out) = (VersionComparison::default(), Vec::new());
        comparison.add(AdapterSide::New, &record(1, DataType::OrderBook, 0, "book"), &mut out);
        comparison.end(&mut out);
        assert_eq!((out.len(), comparison.new_books), (0, 1));
        let large = "x".repeat(WAITING_BYTES / 4);
        for id in 2..8 {
            comparison.add(AdapterSide::Old, &record(id, DataType::Trade, 0, &large), &mut out);
        }
        assert_eq!(kinds(&out), [(2, CorrectionKind::Withdrawn), (3, CorrectionKind::Withdrawn)]);
        assert!(comparison.bytes <= WAITING_BYTES);
        comparison.add(AdapterSide::New, &record(7, DataType::Trade, 0, &large), &mut out);
        assert_eq!(out.len(), 2, "equal");
    }
}
