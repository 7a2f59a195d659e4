//! Ids of events in open batches and of recently stored ones, and the duplicates that wait for them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use marketprism_schema::{DataType, EventId};

use super::message::Delivery;
use super::open_message::OpenMessage;
use crate::row::CopyRow;
use crate::{limits, time};

/// Where the event of a duplicate was found: a recent id in memory, an open batch, hot. Label of counters.
pub const FOUND: [&str; 3] = ["recent", "in_flight", "stored"];

/// State of an event id; numbers are stream sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdState {
    New,
    /// In a batch that is not stored yet.
    InFlight(u64),
    Stored(u64),
}

impl IdState {
    pub const fn found(self) -> &'static str {
        if let Self::InFlight(_) = self { FOUND[1] } else { FOUND[0] }
    }
}

/// Repetition of an event that is before it in its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    None,
    /// An event with another receive time: a book that a reconnect gave again.
    OfEvent,
    /// Everything.
    OfRecord,
}

impl Repetition {
    /// `same`: receive times of the same event before it.
    pub fn of(same: impl Iterator<Item = i64>, received_at_ns: i64) -> Self {
        same.fold(Self::None, |found, other| match found {
            Self::OfRecord => found,
            _ if other == received_at_ns => Self::OfRecord,
            _ => Self::OfEvent,
        })
    }
}

/// An event id in two halves: with a sequence beside it a third smaller than a `u128`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key(u64, u64);

impl Key {
    fn of(EventId(id): EventId) -> Self {
        let half = |value: u128| u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default();
        Self(half(id >> 64), half(id))
    }
}

/// Event ids are hashes already, so they are used as they are.
#[derive(Debug, Default, Clone, Copy)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, half: u64) {
        self.0 ^= half;
    }
}

type Build = BuildHasherDefault<IdHasher>;

/// No message has this sequence: the row came from an earlier incarnation of the stream.
pub const NO_SEQUENCE: u64 = 0;

/// Sequence of the event's message, shifted left by one; the lowest bit is set while it is not stored. Half the size of an enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot(u64);

impl Slot {
    const fn in_flight(stream_seq: u64) -> Self {
        Self(stream_seq << 1 | 1)
    }

    const fn stored(stream_seq: u64) -> Self {
        Self(stream_seq << 1)
    }

    const fn state(self) -> IdState {
        if self.is_stored() { IdState::Stored(self.0 >> 1) } else { IdState::InFlight(self.0 >> 1) }
    }

    const fn is_stored(self) -> bool {
        self.0 & 1 == 0
    }
}

#[derive(Debug)]
pub struct RecentIds {
    slots: HashMap<Key, Slot, Build>,
    /// Stored ids, oldest first, with the broker's receive times of their messages.
    order: VecDeque<(Key, i64)>,
    capacity: usize,
    /// Newest of these times.
    newest_ns: i64,
    complete_since_ns: i64,
}

impl RecentIds {
    /// Keeps `capacity` stored ids, more while they are young. Any event may be stored and unknown, until [`Self::is_complete_since`] says otherwise.
    pub fn new(capacity: usize) -> Self {
        let (newest_ns, complete_since_ns) = (i64::MIN, i64::MAX);
        Self { slots: HashMap::default(), order: VecDeque::new(), capacity, newest_ns, complete_since_ns }
    }

    /// Every event that was stored before came with a message that the broker received before this time.
    pub fn is_complete_since(&mut self, published_ns: i64) {
        self.complete_since_ns = self.complete_since_ns.min(published_ns);
    }

    pub fn state_of(&self, id: EventId) -> IdState {
        self.slots.get(&Key::of(id)).map_or(IdState::New, |slot| slot.state())
    }

    /// Brings ids that are changed next into the cache: their reads do not wait for each other, as the changes do. A million ids are larger than any cache.
    pub fn read_ahead(&self, ids: impl Iterator<Item = EventId>) {
        let oldest =
            self.order.iter().take(ids.size_hint().0).filter(|(key, _)| self.slots.contains_key(key));
        std::hint::black_box(oldest.count() + ids.filter(|id| self.state_of(*id) != IdState::New).count());
    }

    /// Every stored event whose message the broker received after this time (nanoseconds since 1970) is known.
    pub fn complete_since_ns(&self) -> i64 {
        self.complete_since_ns
    }

    pub fn is_fresh(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn begin(&mut self, id: EventId, stream_seq: u64) {
        self.slots.insert(Key::of(id), Slot::in_flight(stream_seq));
    }

    /// The id is stored, from the message with this sequence. `published_ns` is the broker's receive time of the message that
    /// revealed it.
    pub fn stored(&mut self, id: EventId, stream_seq: u64, published_ns: i64) {
        let key = Key::of(id);
        let before = self.slots.insert(key, Slot::stored(stream_seq));
        if before.is_none_or(|slot| !slot.is_stored()) {
            self.order.push_back((key, published_ns));
            self.newest_ns = self.newest_ns.max(published_ns);
        }
        while self.is_oldest_too_much()
            && let Some((oldest, published_ns)) = self.order.pop_front()
        {
            self.slots.remove(&oldest);
            self.complete_since_ns = self.complete_since_ns.max(published_ns);
        }
    }

    /// Without the young ones every event would be looked up.
    fn is_oldest_too_much(&self) -> bool {
        let count = self.order.len();
        let young_since = self.newest_ns.saturating_sub(time::nanos(limits::RECENT_IDS_YOUNG));
        count > self.capacity
            && (self.order.front().is_some_and(|(_, published_ns)| *published_ns < young_since)
                || count > self.capacity.saturating_mul(limits::RECENT_IDS_TIMES))
    }

    pub fn refused(&mut self, id: EventId) {
        if let Entry::Occupied(slot) = self.slots.entry(Key::of(id))
            && !slot.get().is_stored()
        {
            slot.remove();
        }
    }

    /// The stream was recreated: no new message is one of the earlier ones.
    pub fn forget_sequences(&mut self) {
        let stored = self.slots.values_mut().filter(|slot| slot.is_stored());
        stored.for_each(|slot| *slot = Slot::stored(NO_SEQUENCE));
    }
}

/// An event of a message that another message in flight brings.
#[derive(Debug)]
pub struct PendingDuplicate {
    pub message: Arc<OpenMessage>,
    /// Place of the event in the message.
    pub place: usize,
    pub delivery: Delivery,
    pub row: CopyRow<'static>,
}

impl PendingDuplicate {
    fn bytes(&self) -> usize {
        // Its row with three short texts, and its places in two tables.
        const BESIDE_PAYLOAD: usize = size_of::<PendingDuplicate>() + 192;
        BESIDE_PAYLOAD + self.message.bytes_an_event()
    }
}

/// Duplicates that are not stored yet: those that wait for the event's own message, and sequence and event of all.
///
/// While those of a table take [`limits::PENDING_DUPLICATES_BYTES`], no more messages of it are taken; what they wait for is stored meanwhile.
#[derive(Debug, Default)]
pub struct PendingDuplicates {
    by_event: HashMap<EventId, Vec<PendingDuplicate>>,
    /// Of those that wait.
    bytes: BTreeMap<DataType, usize>,
    pending: HashSet<(u64, EventId)>,
}

impl PendingDuplicates {
    /// This event of this message is a pending duplicate, so its redelivery needs nothing more.
    pub fn is_pending(&self, stream_seq: u64, id: EventId) -> bool {
        !self.pending.is_empty() && self.pending.contains(&(stream_seq, id))
    }

    /// More duplicates of the table's events may wait.
    pub fn has_room(&self, data_type: DataType) -> bool {
        self.bytes.get(&data_type).is_none_or(|&bytes| bytes < limits::PENDING_DUPLICATES_BYTES)
    }

    /// Keeps a duplicate until the outcome of the event's own message is known.
    pub fn keep(&mut self, id: EventId, copy: PendingDuplicate) {
        *self.bytes.entry(copy.row.data_type).or_default() += copy.bytes();
        self.pending.insert((copy.delivery.stream_seq, id));
        self.by_event.entry(id).or_default().push(copy);
    }

    pub fn begin(&mut self, stream_seq: u64, id: EventId) {
        self.pending.insert((stream_seq, id));
    }

    /// A duplicate is stored, or needs no row.
    pub fn end(&mut self, stream_seq: u64, id: EventId) {
        self.pending.remove(&(stream_seq, id));
    }

    /// Removes the duplicates that wait for an event.
    pub fn take(&mut self, id: EventId) -> Vec<PendingDuplicate> {
        let taken =
            if self.by_event.is_empty() { None } else { self.by_event.remove(&id) }.unwrap_or_default();
        for copy in &taken {
            if let Some(bytes) = self.bytes.get_mut(&copy.row.data_type) {
                *bytes = bytes.saturating_sub(copy.bytes());
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use marketprism_schema::Decimal;

    fn id(n: u128) -> EventId {
        EventId(n << 64 | n.reverse_bits() >> 64)
    }

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn the_bytes_of_waiting_duplicates_end_the_taking_of_their_table_until_their_events_are_stored() {
        let mut pending = PendingDuplicates::default();
        let event = fixtures::trade(fixtures::header(), Decimal::default());
        let payload = vec![0; limits::PENDING_DUPLICATES_BYTES / 4];
        let mut duplicate = |event_id: u128, stream_seq| {
            let message =
                OpenMessage::new(fixtures::message(fixtures::TRADE_SUBJECT, None, payload.clone()), 1);
            let delivery = Delivery { stream_seq, is_redelivered: false, published_ns: 7 };
            let row = CopyRow::of(&event, stream_seq, FOUND[1]).into_owned();
            pending.keep(id(event_id), PendingDuplicate { message, place: 0, delivery, row });
            pending.has_room(DataType::Trade)
        };
        assert_eq!([1, 1, 2, 3].map(|event| duplicate(event, 9)), [true, true, true, false]);
        assert!(pending.has_room(DataType::OrderBook), "another table");
        assert_eq!(pending.take(id(1)).len(), 2);
        assert!(pending.has_room(DataType::Trade));
        for event in [2, 3, 4] {
            pending.take(id(event));
        }
        assert_eq!(pending.bytes.values().sum::<usize>(), 0);
    }

    #[test]
    fn ids_are_known_from_their_batch_until_capacity_evicts_them() {
        let mut ids = RecentIds::new(2);
        ids.is_complete_since(5);
        ids.begin(id(1), 7);
        assert_eq!(ids.state_of(id(1)), IdState::InFlight(7));
        ids.stored(id(1), 7, 100);
        ids.stored(id(1), 7, 101);
        assert_eq!(ids.state_of(id(1)), IdState::Stored(7));
        ids.stored(id(2), 8, 102);
        assert_eq!(ids.complete_since_ns(), 5);
        ids.stored(id(3), 9, 100 * SECOND);
        assert_eq!(
            [ids.state_of(id(1)), ids.state_of(id(2)), ids.state_of(id(3))],
            [IdState::New, IdState::Stored(8), IdState::Stored(9)]
        );
        assert_eq!((ids.slots.len(), ids.order.len()), (2, 2));
        assert_eq!(ids.complete_since_ns(), 100, "forgotten ids need a lookup");

        ids.begin(id(4), 8);
        ids.refused(id(4));
        assert_eq!(ids.state_of(id(4)), IdState::New);
        ids.forget_sequences();
        assert_eq!(ids.state_of(id(3)), IdState::Stored(NO_SEQUENCE));
    }

    /// At 150,000 events a second a fixed number would not reach back over the difference of two clocks.
    #[test]
    fn young_ids_stay_beyond_the_capacity_within_a_bound() {
        let mut ids = RecentIds::new(100);
        ids.is_complete_since(0);
        let young = i64::try_from(limits::RECENT_IDS_YOUNG.as_secs()).unwrap();
        let store = |ids: &mut RecentIds, numbers: std::ops::Range<u128>, at: i64| {
            numbers.for_each(|number| ids.stored(id(number), 1, at * SECOND));
        };
        store(&mut ids, 1..301, 1);
        assert_eq!((ids.order.len(), ids.complete_since_ns()), (300, 0));
        store(&mut ids, 301..302, 1 + young);
        assert_eq!(ids.order.len(), 301);
        store(&mut ids, 302..303, 2 + young);
        assert_eq!((ids.order.len(), ids.complete_since_ns()), (100, SECOND), "old ones go");
        store(&mut ids, 303..1_000, 3 + young);
        assert_eq!((ids.order.len(), ids.slots.len()), (100 * limits::RECENT_IDS_TIMES, 400));
        assert_eq!(
            ids.complete_since_ns(),
            (3 + young) * SECOND,
            "what is forgotten needs a lookup, however young"
        );
    }
}
