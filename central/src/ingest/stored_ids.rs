//! Ids of stored events, oldest first, and an index of them by id.
//!
//! Own code: in a hash map each id would lie twice, once more for its order, and coming and going would read twice as many cache lines. An entry of
//! the index is 8 bytes: the number of an id in the order, and enough bits of the id to tell nearly all others apart without reading them.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};

use marketprism_schema::EventId;

/// Ids of a piece of the order, which is allocated and freed whole, so that no id is ever moved.
const CHUNK: u32 = 1 << 16;
const CHUNK_LEN: usize = 1 << 16;
/// Entries of the smallest index.
const LEAST_ENTRIES: usize = 1 << 10;
/// No id: every other entry has the bit [`IN_USE`].
const EMPTY: u64 = 0;
/// In the high half of an entry.
const IN_USE: u64 = 1 << 31;

/// An event id in two halves: with two numbers beside it a third smaller than a `u128`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdHalves(u64, u64);

impl IdHalves {
    pub fn of(id: EventId) -> Self {
        Self(u64::try_from(id.0 >> 64).unwrap_or_default(), id.low_half())
    }

    /// High half of the entry. Ids are hashes already, so their bits are used as they are; those of one stream may share a half.
    const fn tag(self) -> u64 {
        IN_USE | (self.0 ^ self.1) >> 33
    }
}

/// Event ids are hashes already, so they are used as they are.
#[derive(Debug, Default, Clone, Copy)]
pub struct IdHasher(u64);

pub type HashById = BuildHasherDefault<IdHasher>;

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

#[derive(Debug, Clone, Copy)]
pub struct StoredId {
    pub id: IdHalves,
    pub stream_seq: u64,
    /// Receive time of the broker.
    pub published_ns: i64,
}

#[derive(Debug, Default)]
pub struct StoredEventIds {
    order: IdOrder,
    /// Each id is in the first place from its home on that was free. A power of two of entries, a fifth of them empty.
    index: Vec<u64>,
}

impl StoredEventIds {
    pub const fn len(&self) -> usize {
        self.order.len
    }

    /// Sequence of the message that brought the event.
    pub fn sequence_of(&self, id: IdHalves) -> Option<u64> {
        self.number_of(id).and_then(|number| self.order.get(number)).map(|stored| stored.stream_seq)
    }

    /// Adds the newest id. A known one gets the sequence, and keeps its place in the order: false.
    pub fn add(&mut self, added: StoredId) -> bool {
        let known = self.number_of(added.id).and_then(|number| self.order.get_mut(number));
        if let Some(known) = known {
            known.stream_seq = added.stream_seq;
            return false;
        }
        if self.len().saturating_add(1) > self.index.len() / 5 * 4 {
            self.grow();
        }
        let number = self.order.push(added);
        self.put(added.id.tag() << 32 | u64::from(number));
        true
    }

    pub fn oldest(&self) -> Option<&StoredId> {
        self.order.get(self.order.first())
    }

    pub fn remove_oldest(&mut self) -> Option<StoredId> {
        let number = self.order.first();
        let removed = self.order.pop()?;
        let entry = removed.id.tag() << 32 | u64::from(number);
        let mut place = self.home(entry);
        while self.entry(place) != EMPTY {
            if self.entry(place) == entry {
                self.clear(place);
                break;
            }
            place = self.after(place);
        }
        Some(removed)
    }

    pub fn set_all_sequences(&mut self, stream_seq: u64) {
        for stored in self.order.chunks.iter_mut().flatten() {
            stored.stream_seq = stream_seq;
        }
    }

    /// Reads the entries of these ids and of as many of the oldest: the reads do not wait for each other, as those of changes do.
    pub fn read_ahead(&self, ids: impl ExactSizeIterator<Item = IdHalves>) {
        let first = self.order.first();
        let oldest = (0..CHUNK).take(ids.len()).map_while(|at| self.order.get(first.wrapping_add(at)));
        let all = oldest.map(|stored| stored.id).chain(ids);
        std::hint::black_box(all.fold(EMPTY, |read, id| read ^ self.entry(self.home(id.tag() << 32))));
    }

    fn number_of(&self, id: IdHalves) -> Option<u32> {
        let tag = id.tag();
        let mut place = self.home(tag << 32);
        loop {
            let entry = self.entry(place);
            if entry == EMPTY {
                return None;
            }
            if entry >> 32 == tag {
                let number = number_in(entry);
                if self.order.get(number).is_some_and(|stored| stored.id == id) {
                    return Some(number);
                }
            }
            place = self.after(place);
        }
    }

    /// `EMPTY` in an index without entries.
    fn entry(&self, place: usize) -> u64 {
        self.index.get(place).copied().unwrap_or(EMPTY)
    }

    fn set(&mut self, place: usize, entry: u64) {
        if let Some(slot) = self.index.get_mut(place) {
            *slot = entry;
        }
    }

    fn mask(&self) -> usize {
        self.index.len().saturating_sub(1)
    }

    /// First place of an entry, by its tag.
    fn home(&self, entry: u64) -> usize {
        usize::try_from(entry >> 32).unwrap_or_default() & self.mask()
    }

    fn after(&self, place: usize) -> usize {
        place.wrapping_add(1) & self.mask()
    }

    fn put(&mut self, entry: u64) {
        let mut place = self.home(entry);
        while self.entry(place) != EMPTY {
            place = self.after(place);
        }
        self.set(place, entry);
    }

    /// Empties a place. Entries behind it move forward, so that no empty place lies between one and its home.
    fn clear(&mut self, mut hole: usize) {
        let mut place = hole;
        loop {
            place = self.after(place);
            let entry = self.entry(place);
            if entry == EMPTY {
                break;
            }
            let mask = self.mask();
            let behind = |from: usize| place.wrapping_sub(from) & mask;
            if behind(self.home(entry)) >= behind(hole) {
                self.set(hole, entry);
                hole = place;
            }
        }
        self.set(hole, EMPTY);
    }

    fn grow(&mut self) {
        let entries = self.index.len().saturating_mul(2).max(LEAST_ENTRIES);
        let before = std::mem::replace(&mut self.index, vec![EMPTY; entries]);
        for entry in before.into_iter().filter(|&entry| entry != EMPTY) {
            self.put(entry);
        }
    }
}

fn number_in(entry: u64) -> u32 {
    u32::try_from(entry & u64::from(u32::MAX)).unwrap_or_default()
}

/// Numbered in the order in which they came. Numbers begin at 0 again after the last `u32`; far fewer ids are kept.
#[derive(Debug, Default)]
struct IdOrder {
    /// All but the last one are full.
    chunks: VecDeque<Vec<StoredId>>,
    /// A chunk of which every id was removed.
    spare: Vec<StoredId>,
    /// Number of the first id in the first chunk.
    base: u32,
    /// Ids of the first chunk that were removed.
    removed: u32,
    len: usize,
}

impl IdOrder {
    /// Number of the oldest.
    const fn first(&self) -> u32 {
        self.base.wrapping_add(self.removed)
    }

    /// Chunk and place in it.
    fn place_of(&self, number: u32) -> (usize, usize) {
        let at = number.wrapping_sub(self.base);
        let whole = |part: u32| usize::try_from(part).unwrap_or(usize::MAX);
        (whole(at / CHUNK), whole(at % CHUNK))
    }

    fn get(&self, number: u32) -> Option<&StoredId> {
        let (chunk, at) = self.place_of(number);
        self.chunks.get(chunk)?.get(at)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut StoredId> {
        let (chunk, at) = self.place_of(number);
        self.chunks.get_mut(chunk)?.get_mut(at)
    }

    fn push(&mut self, id: StoredId) -> u32 {
        if self.chunks.back().is_none_or(|chunk| chunk.len() == CHUNK_LEN) {
            let mut chunk = std::mem::take(&mut self.spare);
            chunk.reserve_exact(CHUNK_LEN);
            self.chunks.push_back(chunk);
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(id);
        }
        let number = self.first().wrapping_add(u32::try_from(self.len).unwrap_or_default());
        self.len += 1;
        number
    }

    fn pop(&mut self) -> Option<StoredId> {
        let id = *self.get(self.first())?;
        self.len = self.len.saturating_sub(1);
        self.removed += 1;
        if self.removed == CHUNK {
            self.spare = self.chunks.pop_front().unwrap_or_default();
            self.spare.clear();
            (self.base, self.removed) = (self.base.wrapping_add(CHUNK), 0);
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(id: IdHalves, stream_seq: u64) -> StoredId {
        StoredId { id, stream_seq, published_ns: 7 }
    }

    /// Ids with few tags have few homes, here at the end of the index: long chains, which go on at its first place.
    fn crowded(number: u64, tag: u64) -> IdHalves {
        IdHalves((0x7fff_ffff - tag) << 33 ^ number, number)
    }

    /// The tag of two ids may be the same, and entries move when one before them goes.
    #[test]
    fn every_id_is_found_from_its_addition_to_its_removal_whatever_chains_the_ids_form() {
        for tags in [1, 7, 1 << 31] {
            let (mut ids, mut known) = (StoredEventIds::default(), VecDeque::new());
            let mut random = 0x9e37_79b9_7f4a_7c15_u64;
            for number in 0..6_000 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let id = crowded(number, random % tags);
                assert_eq!(ids.sequence_of(id), None);
                assert!(ids.add(stored(id, number)) && !ids.add(stored(id, number + 1)));
                known.push_back((id, number + 1));
                let mut drawn = random;
                while known.len() > 900 || (drawn & 3 == 0 && !known.is_empty()) {
                    let (oldest, _) = known.pop_front().unwrap();
                    assert_eq!(ids.remove_oldest().unwrap().id, oldest);
                    assert_eq!(ids.sequence_of(oldest), None);
                    drawn >>= 1;
                }
                if number % 499 == 0 {
                    assert!(known.iter().all(|(id, sequence)| ids.sequence_of(*id) == Some(*sequence)));
                    assert_eq!(ids.index.iter().filter(|&&entry| entry != EMPTY).count(), known.len());
                }
            }
            assert_eq!((ids.len(), ids.index.len()), (known.len(), 2 * LEAST_ENTRIES));
        }
    }

    /// Numbers are those of a `u32`.
    #[test]
    fn ids_are_found_across_the_last_number_and_the_end_of_a_chunk() {
        let mut ids = StoredEventIds::default();
        ids.order.base = 0_u32.wrapping_sub(CHUNK);
        let spread = |number: u64| IdHalves(number.reverse_bits(), number);
        let all = 2 * u64::from(CHUNK) + 13;
        for number in 0..all {
            assert!(ids.add(stored(spread(number), number)));
            if number >= 10 {
                assert_eq!(ids.remove_oldest().unwrap().stream_seq, number - 10);
            }
        }
        assert_eq!((ids.order.base, ids.order.chunks.len()), (CHUNK, 1), "chunks without ids are freed");
        let found: Vec<_> = (0..all).filter_map(|number| ids.sequence_of(spread(number))).collect();
        assert_eq!(found, (all - 10..all).collect::<Vec<_>>());
        assert_eq!(ids.oldest().map(|id| id.stream_seq), Some(all - 10));
        ids.read_ahead(found.iter().map(|number| spread(*number)));
        ids.set_all_sequences(0);
        assert_eq!(ids.sequence_of(spread(all - 1)), Some(0));
    }
}
