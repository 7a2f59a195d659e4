//! Deduplication of events within a window of recent ids.

use marketprism_schema::EventId;

use crate::limits::{RECENT_IDS, RECENT_IDS_FIRST, RECENT_IDS_MAX, RECENT_IDS_YOUNG_NS};

/// The ring's receive times are known by parts of this number.
const PARTS: usize = 8;

/// The latest event ids of one data type of one instrument. Duplicates come from overlapping connections, a venue's backlog, and polls
/// of a value that did not change.
///
/// A full window takes 12 bytes an id, and an edge has one for each instrument and type: a set of hashes with a queue takes 26. It never
/// shrinks: what an instrument needed once it needs again.
#[derive(Debug, Default)]
pub(super) struct RecentIds {
    /// In the order of arrival, from `oldest` on once it is full.
    ring: Vec<u64>,
    oldest: usize,
    /// Place in the ring plus one, by the low bits of the id; 0: free. Twice as long as the ring, with linear probing.
    places: Vec<u16>,
    /// Receive time of the first id of each part of the ring.
    begun_ns: [i64; PARTS],
    /// Receive time of the newest message or answer, and the number of its ids, known ones included.
    message: (i64, usize),
}

impl RecentIds {
    /// False for an id that is in the window.
    pub(super) fn insert(&mut self, id: EventId, received_at_ns: i64) -> bool {
        // Half of a hash over 128 bits: among 16,384 ids two collide by chance once in 10^11 windows.
        let id = id.low_half();
        self.count_in_message(received_at_ns);
        if self.place_at(self.slot_of(id)).is_some() {
            return false;
        }
        if self.ring.len() == self.capacity() && self.is_oldest_needed(received_at_ns) {
            self.grow();
        }
        let place = if self.ring.len() < self.capacity() {
            self.ring.push(id);
            self.ring.len() - 1
        } else {
            self.replace_oldest(id)
        };
        let part = self.part();
        if place.is_multiple_of(part)
            && let Some(begun_ns) = self.begun_ns.get_mut(place / part)
        {
            *begun_ns = received_at_ns;
        }
        let slot = self.slot_of(id);
        self.set(slot, Some(place));
        true
    }

    const fn capacity(&self) -> usize {
        self.places.len() / 2
    }

    /// Ids of a part; the capacity is a power of two.
    const fn part(&self) -> usize {
        let part = self.capacity() / PARTS;
        if part == 0 { 1 } else { part }
    }

    /// The next message may repeat all of this one, the new ids first, and have more.
    fn count_in_message(&mut self, received_at_ns: i64) {
        let (at_ns, ids) = self.message;
        self.message = (received_at_ns, if at_ns == received_at_ns { ids + 1 } else { 1 });
        if 2 * self.message.1 > self.capacity() && self.capacity() < RECENT_IDS_MAX {
            self.grow();
        }
    }

    /// The window is full. It grows to [`RECENT_IDS`], and beyond rather than forget a part with a young id: all of a part are older than the
    /// first one of the next.
    fn is_oldest_needed(&self, now_ns: i64) -> bool {
        let next = (self.oldest / self.part() + 1) % PARTS;
        let begun_ns = self.begun_ns.get(next).copied().unwrap_or(i64::MIN);
        let is_young = now_ns.saturating_sub(begun_ns) < RECENT_IDS_YOUNG_NS;
        let is_known = self.oldest.is_multiple_of(self.part());
        self.capacity() < if is_young && is_known { RECENT_IDS_MAX } else { RECENT_IDS }
    }

    fn grow(&mut self) {
        // The oldest id comes first, and each part is half of one. A part that newer ids have begun to replace has their time.
        let part_of_oldest = self.oldest.div_ceil(self.part());
        self.begun_ns.rotate_left(part_of_oldest % PARTS);
        self.ring.rotate_left(self.oldest);
        self.oldest = 0;
        if self.capacity() >= PARTS {
            let mut kept = self.begun_ns.into_iter().step_by(2);
            self.begun_ns = [(); PARTS].map(|()| kept.next().unwrap_or_default());
        }
        let capacity = (2 * self.capacity()).max(RECENT_IDS_FIRST);
        self.ring.reserve_exact(capacity - self.ring.len());
        self.places = vec![0; 2 * capacity];
        for place in 0..self.ring.len() {
            let id = self.ring.get(place).copied().unwrap_or_default();
            let slot = self.slot_of(id);
            self.set(slot, Some(place));
        }
    }

    fn replace_oldest(&mut self, id: u64) -> usize {
        let place = self.oldest;
        if let Some(&forgotten) = self.ring.get(place) {
            self.remove(forgotten);
        }
        if let Some(oldest) = self.ring.get_mut(place) {
            *oldest = id;
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
        let (mut recent, most) = (RecentIds::default(), RECENT_IDS_MAX as u64);
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
    fn ids_that_begin_at_one_slot_are_distinguished() {
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

    /// A poll has the rows of half an hour, most of which came with the polls before, however few events there were until then.
    #[test]
    fn the_rows_of_a_poll_are_known_in_the_next_one() {
        for (slow, is_newest_first) in [0, 20, 500].into_iter().flat_map(|slow| [(slow, false), (slow, true)])
        {
            let mut recent = RecentIds::default();
            for number in 0..slow {
                recent.insert(hash(1_000_000 + number), number as i64 * 100 * SECOND);
            }
            let mut seen = 0;
            for poll in 0..60_u64 {
                // More and more, up to a page of 1,000.
                let mut rows: Vec<u64> = (poll * 20..poll * 20 + (poll * 40).min(1_000)).collect();
                let unseen = rows.iter().filter(|row| **row >= seen).count();
                seen = rows.last().map_or(0, |last| last + 1);
                if is_newest_first {
                    rows.reverse();
                }
                let at_ns = (100_000 + poll as i64 * 300) * SECOND;
                let new = rows.iter().filter(|row| recent.insert(hash(**row), at_ns)).count();
                assert_eq!(new, unseen, "poll {poll} after {slow} single events");
            }
        }
    }

    /// Each trade of a burst comes from a second connection too.
    #[test]
    fn no_id_of_the_last_minute_is_forgotten() {
        for slow in 0..300 {
            let mut recent = RecentIds::default();
            for number in 0..slow {
                recent.insert(hash(1_000_000 + number), number as i64 * 10 * SECOND);
            }
            let at_ns = |number: u64| (10_000 + number as i64) * SECOND / 1_000 + 10_000 * SECOND;
            let copies = (0..2_000).filter(|&number| {
                assert!(recent.insert(hash(number), at_ns(number)));
                number >= 100 && recent.insert(hash(number - 100), at_ns(number))
            });
            assert_eq!(copies.count(), 0, "after {slow} single events");
            let known = (0..2_000).filter(|number| !recent.insert(hash(*number), at_ns(2_000 + number)));
            assert_eq!(known.count(), 2_000, "after {slow} single events");
        }
    }

    /// A thousand instruments have as many windows: memory is flat after two minutes.
    #[test]
    fn a_window_takes_twelve_bytes_an_id_and_reaches_its_size_within_two_minutes() {
        let most = |between_ns: i64| {
            let mut recent = RecentIds::default();
            let sizes = (0..100_000).map(|number| {
                let at_ns = number as i64 * between_ns;
                recent.insert(hash(number), at_ns);
                (at_ns, bytes(&recent))
            });
            let sizes: Vec<(i64, usize)> = sizes.collect();
            assert!(sizes.is_sorted_by_key(|(_, bytes)| *bytes), "it never takes less");
            let (_, last) = sizes[sizes.len() - 1];
            let reached = sizes.iter().find(|(_, bytes)| *bytes == last).map(|(at_ns, _)| at_ns / SECOND);
            (sizes[0].1, last, reached.unwrap())
        };
        let (first, base, full) = (12 * RECENT_IDS_FIRST, 12 * RECENT_IDS, 12 * RECENT_IDS_MAX);
        assert_eq!(most(SECOND / 1_000), (first, full, 8), "1,000 a second");
        assert_eq!(most(SECOND / 40), (first, full / 4, 51), "40 a second");
        assert_eq!(most(SECOND / 20), (first, full / 8, 51), "20 a second");
        assert_eq!(most(SECOND), (first, base, 64), "one a second");
    }
}
