//! Deduplication of events within a window of recent ids.

use marketprism_schema::EventId;

use crate::limits::{RECENT_IDS, RECENT_IDS_FIRST, RECENT_IDS_YOUNG_MAX, RECENT_IDS_YOUNG_NS};

/// The latest event ids of one data type of one instrument. Duplicates come from overlapping connections, a venue's backlog, and polls
/// of a value that did not change.
///
/// A full window takes 12 bytes an id, and an edge has one for each instrument and type: a set of hashes beside a queue takes 26.
#[derive(Debug, Default)]
pub(super) struct RecentIds {
    /// In the order of arrival, from `oldest` on once it is full.
    ring: Vec<u64>,
    oldest: usize,
    /// Place in the ring plus one, by the low bits of the id; 0: free. Twice as long as the ring, with linear probing.
    places: Vec<u16>,
    /// Receive time of the id at the begin of the ring.
    begin_ns: i64,
}

impl RecentIds {
    /// False for an id that is in the window.
    pub(super) fn insert(&mut self, id: EventId, received_at_ns: i64) -> bool {
        // Half of a hash over 128 bits: among 4,096 ids two collide by chance once in 10^12 windows.
        let id = id.low_half();
        if self.place_at(self.slot_of(id)).is_some() {
            return false;
        }
        if self.ring.is_empty() {
            self.begin_ns = received_at_ns;
        }
        if self.ring.len() == self.capacity() && self.is_to_grow(received_at_ns) {
            self.grow();
        }
        let place = if self.ring.len() < self.capacity() {
            self.ring.push(id);
            self.ring.len() - 1
        } else {
            self.replace_oldest(id, received_at_ns)
        };
        let slot = self.slot_of(id);
        self.set(slot, Some(place));
        true
    }

    const fn capacity(&self) -> usize {
        self.places.len() / 2
    }

    /// A full window grows to [`RECENT_IDS`], and beyond while it would forget a young id. It grows when the oldest id is at the begin of the ring.
    fn is_to_grow(&self, now_ns: i64) -> bool {
        let is_young = now_ns.saturating_sub(self.begin_ns) < RECENT_IDS_YOUNG_NS;
        let most = if is_young { RECENT_IDS_YOUNG_MAX } else { RECENT_IDS };
        self.oldest == 0 && self.capacity() < most
    }

    fn grow(&mut self) {
        let capacity = (2 * self.capacity()).max(RECENT_IDS_FIRST);
        self.ring.reserve_exact(capacity - self.ring.len());
        self.places = vec![0; 2 * capacity];
        for place in 0..self.ring.len() {
            let id = self.ring.get(place).copied().unwrap_or_default();
            let slot = self.slot_of(id);
            self.set(slot, Some(place));
        }
    }

    fn replace_oldest(&mut self, id: u64, received_at_ns: i64) -> usize {
        let place = self.oldest;
        if let Some(&forgotten) = self.ring.get(place) {
            self.remove(forgotten);
        }
        if let Some(oldest) = self.ring.get_mut(place) {
            *oldest = id;
        }
        if place == 0 {
            self.begin_ns = received_at_ns;
        }
        self.oldest = (place + 1) % self.ring.len();
        place
    }

    /// Frees the slot of an id, and closes the gap for those that were pushed behind it.
    fn remove(&mut self, id: u64) {
        let mut free = self.slot_of(id);
        let mut slot = self.after(free);
        while let Some(place) = self.place_at(slot) {
            let own = self.ring.get(place).map_or(slot, |&id| self.own_slot(id));
            if self.distance(own, slot) >= self.distance(free, slot) {
                self.set(free, Some(place));
                free = slot;
            }
            slot = self.after(slot);
        }
        self.set(free, None);
    }

    /// Slot of an id, or the free one that it would get.
    fn slot_of(&self, id: u64) -> usize {
        let mut slot = self.own_slot(id);
        while let Some(place) = self.place_at(slot)
            && self.ring.get(place) != Some(&id)
        {
            slot = self.after(slot);
        }
        slot
    }

    /// The length is a power of two.
    const fn mask(&self) -> usize {
        self.places.len().saturating_sub(1)
    }

    fn own_slot(&self, id: u64) -> usize {
        usize::try_from(id & u64::from(u32::MAX)).unwrap_or_default() & self.mask()
    }

    const fn after(&self, slot: usize) -> usize {
        (slot + 1) & self.mask()
    }

    const fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.mask()
    }

    fn place_at(&self, slot: usize) -> Option<usize> {
        self.places.get(slot).and_then(|&place| usize::from(place).checked_sub(1))
    }

    fn set(&mut self, slot: usize, place: Option<usize>) {
        if let Some(entry) = self.places.get_mut(slot) {
            *entry = place.map_or(0, |place| u16::try_from(place + 1).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// As ids are: hashes, some of which begin at the same slot.
    fn hash(number: u64) -> EventId {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        EventId(u128::from((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ mixed >> 32))
    }

    fn bytes(recent: &RecentIds) -> usize {
        recent.ring.capacity() * size_of::<u64>() + recent.places.capacity() * size_of::<u16>()
    }

    #[test]
    fn a_duplicate_is_detected_while_its_id_is_in_the_bounded_window() {
        let (mut recent, most) = (RecentIds::default(), RECENT_IDS_YOUNG_MAX as u64);
        for number in 0..20_000 {
            assert!(recent.insert(hash(number), 1), "{number} is new");
            assert!(!recent.insert(hash(number), 1), "{number} came before");
            let known = number.saturating_sub(most - 1);
            assert!(!recent.insert(hash(known), 1), "{known} is in the window of {number}");
        }
        for number in 20_000 - most..20_000 {
            assert!(!recent.insert(hash(number), 1), "{number} is in the window");
        }
        assert!(recent.insert(hash(20_000 - most - 1), 1), "its id left the window");
    }

    /// Ids that share a slot are found after one of them left, in any order and around the end of the table.
    #[test]
    fn ids_that_begin_at_one_slot_are_told_apart() {
        let mut recent = RecentIds::default();
        let id = |number: u64| EventId(u128::from(number << 32 | u64::from(u32::MAX)));
        for number in 0..1_500 {
            assert!(recent.insert(id(number), number as i64 * SECOND), "{number} is new");
            for known in number.saturating_sub(3)..=number {
                assert!(!recent.insert(id(known), 0), "{known} came before {number}");
            }
        }
        let used = recent.places.iter().filter(|&&place| place != 0).count();
        assert_eq!((used, recent.ring.len()), (RECENT_IDS, RECENT_IDS));
    }

    /// A thousand instruments have as many windows, and those of trades never stop filling.
    #[test]
    fn a_window_takes_twelve_bytes_an_id_and_reaches_its_size_once() {
        let most = |between_ns: i64, count: u64| {
            let mut recent = RecentIds::default();
            let sizes = (0..count).map(|number| {
                recent.insert(hash(number), number as i64 * between_ns);
                bytes(&recent)
            });
            let sizes: Vec<usize> = sizes.collect();
            assert!(sizes.is_sorted(), "it never takes less");
            (sizes[0], sizes[RECENT_IDS], sizes[sizes.len() - 1])
        };
        let (first, base, full) = (12 * RECENT_IDS_FIRST, 12 * RECENT_IDS, 12 * RECENT_IDS_YOUNG_MAX);
        assert_eq!(most(SECOND, 100_000), (first, base, base), "of a slow instrument");
        assert_eq!(most(SECOND / 1_000, 100_000), (first, 2 * base, full), "of a fast one");
        assert_eq!(most(SECOND / 40, 100_000), (first, 2 * base, 4 * base), "a minute of 40 a second");
        assert_eq!(most(SECOND / 20, 100_000), (first, 2 * base, 2 * base), "a minute of 20 a second");
    }
}
