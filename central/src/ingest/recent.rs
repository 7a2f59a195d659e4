//! Event ids that are in open batches, and a bounded number of those stored last.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use marketprism_schema::EventId;

/// What is known of an event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    New,
    /// In a batch that is not stored yet, from the message with this stream sequence.
    InFlight(u64),
    /// Stored recently.
    Stored,
}

/// Event ids are hashes already: their low half serves as it is.
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

    fn write_u128(&mut self, id: u128) {
        // The low half, by intent.
        self.0 = u64::try_from(id & u128::from(u64::MAX)).unwrap_or_default();
    }
}

type Build = BuildHasherDefault<IdHasher>;

/// Event ids that are in open batches, and a bounded number of those stored last.
#[derive(Debug)]
pub struct RecentIds {
    in_flight: HashMap<EventId, u64, Build>,
    stored: HashSet<EventId, Build>,
    /// The stored ids, oldest first.
    order: VecDeque<EventId>,
    capacity: usize,
}

impl RecentIds {
    /// Remembers at most `capacity` stored ids; the oldest are forgotten first.
    pub fn new(capacity: usize) -> Self {
        Self { in_flight: HashMap::default(), stored: HashSet::default(), order: VecDeque::new(), capacity }
    }

    /// What is known of an id.
    pub fn look(&self, id: EventId) -> Seen {
        match self.in_flight.get(&id) {
            Some(&stream_seq) => Seen::InFlight(stream_seq),
            None if self.stored.contains(&id) => Seen::Stored,
            None => Seen::New,
        }
    }

    /// The id is in a batch now.
    pub fn begin(&mut self, id: EventId, stream_seq: u64) {
        self.in_flight.insert(id, stream_seq);
    }

    /// The batch that holds the id is stored.
    pub fn stored(&mut self, id: EventId) {
        self.in_flight.remove(&id);
        if self.stored.insert(id) {
            self.order.push_back(id);
        }
        while self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.stored.remove(&oldest);
            }
        }
    }

    /// The row of the id was refused: nothing is stored.
    pub fn refused(&mut self, id: EventId) {
        self.in_flight.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an id is known while its batch is open and for the stated number of ids afterwards, and memory stays bounded.
    #[test]
    fn ids_are_known_from_batch_to_capacity() {
        let mut ids = RecentIds::new(2);
        let id = |n: u128| EventId(n << 64 | n);
        ids.begin(id(1), 7);
        assert_eq!(ids.look(id(1)), Seen::InFlight(7));
        ids.stored(id(1));
        ids.stored(id(1));
        assert_eq!(ids.look(id(1)), Seen::Stored);
        ids.stored(id(2));
        ids.stored(id(3));
        assert_eq!(
            [ids.look(id(1)), ids.look(id(2)), ids.look(id(3))],
            [Seen::New, Seen::Stored, Seen::Stored]
        );
        assert_eq!((ids.stored.len(), ids.order.len(), ids.in_flight.len()), (2, 2, 0));

        ids.begin(id(4), 8);
        ids.refused(id(4));
        assert_eq!(ids.look(id(4)), Seen::New);
    }
}
