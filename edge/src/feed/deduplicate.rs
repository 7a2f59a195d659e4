//! Telling copies of an event from new ones, and finding holes in trade ids.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use marketprism_schema::{DataType, EventId};

use crate::limits::{RECENT_IDS_MAX, RECENT_TRADE_IDS_MAX, TRADE_GAPS_MAX};

/// The latest event ids of one data type of one instrument. Overlapping connections, a venue's backlog and polls that come before there
/// is anything new bring events twice; the copies end here.
#[derive(Debug)]
pub struct RecentIds {
    most: usize,
    order: VecDeque<u64>,
    ids: HashSet<u64, BuildHasherDefault<AlreadyHashed>>,
}

impl RecentIds {
    /// Remembers as many ids as the data type needs.
    #[must_use]
    pub fn of(kind: DataType) -> Self {
        let most = if kind == DataType::Trade { RECENT_TRADE_IDS_MAX } else { RECENT_IDS_MAX };
        Self { most, order: VecDeque::new(), ids: HashSet::default() }
    }

    /// Whether the id was not seen before, as far as it is remembered.
    pub fn insert(&mut self, id: EventId) -> bool {
        // Half of a hash over 128 bits: among 4,096 ids two meet by chance once in 10^12 windows.
        let id = low_half(id);
        if !self.ids.insert(id) {
            return false;
        }
        if self.order.len() >= self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        self.order.push_back(id);
        true
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn low_half(id: EventId) -> u64 {
    id.0 as u64
}

/// Event ids are hashes already.
#[derive(Debug, Default, Clone, Copy)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A hole in the trade ids of one instrument: the trades `from` to `to` did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TradeGap {
    /// First missing id.
    pub from: u64,
    /// Last missing id.
    pub to: u64,
    /// Receive time of the trade that showed it, nanoseconds since 1970.
    pub at_ns: i64,
}

/// Follows the ids of one instrument whose trade ids rise by one. Late trades close the holes that they belong to.
#[derive(Debug, Default)]
pub struct TradeSequence {
    next: Option<u64>,
    gaps: VecDeque<TradeGap>,
    /// Holes seen since the start.
    pub gaps_seen: u64,
    /// Trades that are missing now.
    pub missing: u64,
}

impl TradeSequence {
    /// Notes the id of a trade that is no copy. Gives the hole that it shows.
    pub fn note(&mut self, id: u64, at_ns: i64) -> Option<TradeGap> {
        let next = self.next.unwrap_or(id);
        if id < next {
            self.close(id);
            return None;
        }
        self.next = Some(id.saturating_add(1));
        if id == next {
            return None;
        }
        let gap = TradeGap { from: next, to: id - 1, at_ns };
        self.gaps_seen += 1;
        self.missing = self.missing.saturating_add(id - next);
        if self.gaps.len() >= TRADE_GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
        Some(gap)
    }

    /// The latest holes that are still open, oldest first.
    pub fn open_gaps(&self) -> impl Iterator<Item = TradeGap> + '_ {
        self.gaps.iter().copied()
    }

    fn close(&mut self, id: u64) {
        let Some(index) = self.gaps.iter().position(|gap| gap.from <= id && id <= gap.to) else { return };
        let Some(gap) = self.gaps.remove(index) else { return };
        self.missing = self.missing.saturating_sub(1);
        let above = TradeGap { from: id.saturating_add(1), ..gap };
        let below = TradeGap { to: id.saturating_sub(1), ..gap };
        if id < gap.to {
            self.gaps.insert(index, above);
        }
        if gap.from < id {
            self.gaps.insert(index, below);
        }
        while self.gaps.len() > TRADE_GAPS_MAX {
            self.gaps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a copy is told as long as its id is within the window, and the window stays bounded.
    #[test]
    fn copies_are_told_within_the_window() {
        let mut recent = RecentIds::of(DataType::Trade);
        for id in 0..10_000_u128 {
            assert!(recent.insert(EventId(id)));
            assert!(!recent.insert(EventId(id)));
            assert!(!recent.insert(EventId(id.saturating_sub(4_000).max(id.saturating_sub(4_095)))));
        }
        assert_eq!((recent.order.len(), recent.ids.len()), (RECENT_TRADE_IDS_MAX, RECENT_TRADE_IDS_MAX));
        assert!(recent.insert(EventId(1)), "forgotten");
    }

    /// Goal: holes are told with both ends, and closed by late trades, in any order.
    #[test]
    fn holes_are_told_and_closed() {
        let mut sequence = TradeSequence::default();
        assert_eq!(sequence.note(10, 1), None);
        assert_eq!(sequence.note(11, 2), None);
        assert_eq!(sequence.note(16, 3), Some(TradeGap { from: 12, to: 15, at_ns: 3 }));
        assert_eq!((sequence.missing, sequence.gaps_seen), (4, 1));
        assert_eq!(sequence.note(13, 4), None);
        let open: Vec<_> = sequence.open_gaps().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!(open, [(12, 12), (14, 15)]);
        for late in [15, 12, 14, 5] {
            assert_eq!(sequence.note(late, 5), None);
        }
        assert_eq!((sequence.missing, sequence.open_gaps().count()), (0, 0));
        assert_eq!(sequence.note(17, 6), None);
    }
}
