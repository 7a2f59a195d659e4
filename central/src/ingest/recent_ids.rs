//! Ids of events in open batches and of recently stored ones: what tells a new event from a duplicate.

use std::collections::HashMap;

use marketprism_schema::EventId;

use super::known_events::IdState;
use super::stored_ids::{HashById, IdHalves, StoredId, StoredEventIds};
use crate::{limits, time};

/// No message has this sequence: the row came from an earlier incarnation of the stream.
pub const NO_SEQUENCE: u64 = 0;

#[derive(Debug)]
pub struct RecentIds {
    /// Events in batches that are not stored yet, with the sequences of their messages. A few batches, so that it stays in the cache.
    in_flight: HashMap<IdHalves, u64, HashById>,
    stored: StoredEventIds,
    capacity: usize,
    /// Newest time at which the broker received the message of a stored event.
    newest_ns: i64,
    complete_since_ns: i64,
}

impl RecentIds {
    /// Keeps `capacity` stored ids, more while they are young. Any event may be stored and unknown, until [`Self::is_complete_since`] says otherwise.
    pub fn new(capacity: usize) -> Self {
        let (newest_ns, complete_since_ns) = (i64::MIN, i64::MAX);
        let (in_flight, stored) = (HashMap::default(), StoredEventIds::default());
        Self { in_flight, stored, capacity, newest_ns, complete_since_ns }
    }

    /// Every event that was stored before came with a message that the broker received before this time.
    pub fn is_complete_since(&mut self, published_ns: i64) {
        self.complete_since_ns = self.complete_since_ns.min(published_ns);
    }

    pub fn state_of(&self, id: EventId) -> IdState {
        let id = IdHalves::of(id);
        match self.in_flight.get(&id) {
            Some(&stream_seq) => IdState::InFlight(stream_seq),
            None => self.stored.sequence_of(id).map_or(IdState::New, IdState::Stored),
        }
    }

    /// Brings what changes next into the cache. The index of a million ids is larger than most caches.
    pub fn read_ahead(&self, ids: impl ExactSizeIterator<Item = EventId>) {
        self.stored.read_ahead(ids.map(IdHalves::of));
    }

    /// Every stored event whose message the broker received after this time (nanoseconds since 1970) is known.
    pub const fn complete_since_ns(&self) -> i64 {
        self.complete_since_ns
    }

    pub fn is_fresh(&self) -> bool {
        self.in_flight.is_empty() && self.stored.len() == 0
    }

    pub fn begin(&mut self, id: EventId, stream_seq: u64) {
        self.in_flight.insert(IdHalves::of(id), stream_seq);
    }

    /// The id is stored, from the message with this sequence. `published_ns` is the broker's receive time of the message that
    /// revealed it.
    pub fn stored(&mut self, id: EventId, stream_seq: u64, published_ns: i64) {
        let id = IdHalves::of(id);
        self.in_flight.remove(&id);
        if self.stored.add(StoredId { id, stream_seq, published_ns }) {
            self.newest_ns = self.newest_ns.max(published_ns);
        }
        while self.is_oldest_too_much()
            && let Some(oldest) = self.stored.remove_oldest()
        {
            self.complete_since_ns = self.complete_since_ns.max(oldest.published_ns);
        }
    }

    /// Without the young ones every event would be looked up.
    fn is_oldest_too_much(&self) -> bool {
        let count = self.stored.len();
        let young_since = self.newest_ns.saturating_sub(time::nanos(limits::RECENT_IDS_YOUNG));
        count > self.capacity
            && (self.stored.oldest().is_some_and(|oldest| oldest.published_ns < young_since)
                || count > self.capacity.saturating_mul(limits::RECENT_IDS_TIMES))
    }

    pub fn refused(&mut self, id: EventId) {
        self.in_flight.remove(&IdHalves::of(id));
    }

    /// The stream was recreated: no new message is one of the earlier ones.
    pub fn forget_sequences(&mut self) {
        self.stored.set_all_sequences(NO_SEQUENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> EventId {
        EventId(n << 64 | n.reverse_bits() >> 64)
    }

    const SECOND: i64 = 1_000_000_000;

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
        assert_eq!((ids.in_flight.len(), ids.stored.len()), (0, 2));
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
        assert_eq!((ids.stored.len(), ids.complete_since_ns()), (300, 0));
        store(&mut ids, 301..302, 1 + young);
        assert_eq!(ids.stored.len(), 301);
        store(&mut ids, 302..303, 2 + young);
        assert_eq!((ids.stored.len(), ids.complete_since_ns()), (100, SECOND), "old ones go");
        store(&mut ids, 303..1_000, 3 + young);
        assert_eq!(ids.stored.len(), 100 * limits::RECENT_IDS_TIMES);
        assert_eq!(
            ids.complete_since_ns(),
            (3 + young) * SECOND,
            "what is forgotten needs a lookup, however young"
        );
    }
}
