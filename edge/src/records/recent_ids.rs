//! GapEvent copies of an event from new ones, and finding holes in trade ids.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use marketprism_adapter_host::InstrumentIndex;
use marketprism_schema::{DataType, EventId};

use crate::gaps::Incident;
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
    /// Receive time of the trade before it, nanoseconds since 1970.
    pub after_ns: i64,
    /// Receive time of the trade that showed it.
    pub at_ns: i64,
    /// What explains it. None: nothing that this edge knows of.
    pub why: Option<Incident>,
    is_explained: bool,
}

/// The holes in the trade ids of one instrument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeReport {
    /// Position of the instrument.
    pub instrument: InstrumentIndex,
    /// Holes seen since the start.
    pub gaps_seen: u64,
    /// Trades that are missing now.
    pub missing: u64,
    /// The latest holes that are still open.
    pub open: Vec<TradeGap>,
}

/// Holes that are still open, but too many to be told one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForgottenHoles {
    /// The first of them.
    pub first: TradeGap,
    /// The last.
    pub last: TradeGap,
    /// How many.
    pub gaps: u64,
    /// Trades missing in them.
    pub missing: u64,
}

/// What a trade's id says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TradeIdCheck {
    /// Nothing is missing before it.
    InOrder,
    /// It shows this hole.
    Shows(TradeGap),
    /// It is late, and closes a hole or a part of one.
    Closes,
}

/// Follows the ids of one instrument whose trade ids rise by one. Late trades close the holes that they belong to.
#[derive(Debug, Default)]
pub struct TradeSequence {
    next: Option<u64>,
    last_ns: i64,
    gaps: VecDeque<TradeGap>,
    forgotten: Option<ForgottenHoles>,
    /// Holes seen since the start.
    pub gaps_seen: u64,
    /// Trades that are missing now.
    pub missing: u64,
}

impl TradeSequence {
    /// RemarkLog the id of a trade that is no copy. Gives what it says.
    pub fn note(&mut self, id: u64, at_ns: i64) -> TradeIdCheck {
        let next = self.next.unwrap_or(id);
        if id < next {
            return if self.close(id) { TradeIdCheck::Closes } else { TradeIdCheck::InOrder };
        }
        let after_ns = std::mem::replace(&mut self.last_ns, at_ns);
        self.next = Some(id.saturating_add(1));
        if id == next {
            return TradeIdCheck::InOrder;
        }
        let gap = TradeGap { from: next, to: id - 1, after_ns, at_ns, why: None, is_explained: false };
        self.gaps_seen += 1;
        self.missing = self.missing.saturating_add(id - next);
        if self.gaps.len() >= TRADE_GAPS_MAX {
            self.forget_oldest();
        }
        self.gaps.push_back(gap);
        TradeIdCheck::Shows(gap)
    }

    fn forget_oldest(&mut self) {
        let Some(gap) = self.gaps.pop_front() else { return };
        let sum = self.forgotten.get_or_insert(ForgottenHoles { first: gap, last: gap, gaps: 0, missing: 0 });
        sum.last = gap;
        sum.gaps += 1;
        sum.missing = sum.missing.saturating_add(gap.to - gap.from + 1);
    }

    /// Holes that were forgotten since the last call.
    pub const fn take_forgotten(&mut self) -> Option<ForgottenHoles> {
        self.forgotten.take()
    }

    /// Explains holes that are not explained yet, by the times before and after.
    pub fn explain(&mut self, explain: impl Fn(i64, i64) -> Option<Incident>) {
        for gap in self.gaps.iter_mut().filter(|gap| !gap.is_explained) {
            gap.why = explain(gap.after_ns, gap.at_ns);
            gap.is_explained = true;
        }
    }

    /// The latest holes that are still open, oldest first.
    pub fn open_gaps(&self) -> impl Iterator<Item = TradeGap> + '_ {
        self.gaps.iter().copied()
    }

    fn close(&mut self, id: u64) -> bool {
        let index = self.gaps.iter().position(|gap| gap.from <= id && id <= gap.to);
        let Some(gap) = index.and_then(|index| self.gaps.remove(index)) else { return false };
        let index = index.unwrap_or_default();
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
            self.forget_oldest();
        }
        true
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
        assert_eq!(sequence.note(10, 1), TradeIdCheck::InOrder);
        assert_eq!(sequence.note(11, 2), TradeIdCheck::InOrder);
        let shown = TradeGap { from: 12, to: 15, after_ns: 2, at_ns: 3, why: None, is_explained: false };
        assert_eq!(sequence.note(16, 3), TradeIdCheck::Shows(shown));
        assert_eq!((sequence.missing, sequence.gaps_seen), (4, 1));
        assert_eq!(sequence.note(13, 4), TradeIdCheck::Closes);
        let open: Vec<_> = sequence.open_gaps().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!(open, [(12, 12), (14, 15)]);
        for late in [15, 12, 14] {
            assert_eq!(sequence.note(late, 5), TradeIdCheck::Closes);
        }
        assert_eq!(sequence.note(5, 5), TradeIdCheck::InOrder);
        assert_eq!((sequence.missing, sequence.open_gaps().count()), (0, 0));
        assert_eq!(sequence.note(17, 6), TradeIdCheck::InOrder);
    }

    /// Goal: no hole vanishes when there are too many to be named: named and summed up they are all that is missing.
    #[test]
    fn many_holes_are_summed_up() {
        let mut sequence = TradeSequence::default();
        for (id, at) in (0..1_000).zip(1..) {
            sequence.note(id * 3, at);
        }
        let named: u64 = sequence.open_gaps().map(|gap| gap.to - gap.from + 1).sum();
        let sum = sequence.take_forgotten().unwrap();
        assert_eq!((sum.first.from, sum.first.after_ns, sum.first.at_ns), (1, 1, 2));
        assert_eq!(sum.gaps + u64::try_from(TRADE_GAPS_MAX).unwrap(), 999);
        assert_eq!((named + sum.missing, sequence.missing), (1_998, 1_998));
        assert_eq!(sequence.take_forgotten(), None);
    }
}
