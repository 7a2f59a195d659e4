//! Ids of events: deduplication within a window of recent ids, and gaps in trade ids that rise by one.

use std::collections::VecDeque;

use marketprism_adapter_host::InstrumentIndex;
use marketprism_schema::{DataType, EventId, Gap, GapCause};
use rustc_hash::FxHashSet;

use crate::audit::GapSum;
use crate::limits::{RECENT_IDS_MAX, RECENT_TRADE_IDS_MAX, TRADE_GAPS_MAX};

/// The latest event ids of one data type of one instrument. Duplicates come from overlapping connections, a venue's backlog, and polls
/// of a value that did not change.
#[derive(Debug)]
pub(super) struct RecentIds {
    most: usize,
    order: VecDeque<u64>,
    ids: FxHashSet<u64>,
}

impl RecentIds {
    pub(super) fn of(kind: DataType) -> Self {
        let most = if kind == DataType::Trade { RECENT_TRADE_IDS_MAX } else { RECENT_IDS_MAX };
        Self { most, order: VecDeque::new(), ids: FxHashSet::default() }
    }

    /// False for an id that is in the window.
    pub(super) fn insert(&mut self, id: EventId) -> bool {
        // Half of a hash over 128 bits: among 4,096 ids two collide by chance once in 10^12 windows.
        let id = id.low_half();
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeIdReport {
    pub instrument: InstrumentIndex,
    /// Gaps since the start.
    pub gaps_seen: u64,
    /// Trades that are missing now.
    pub missing: u64,
    /// The latest open gaps.
    pub open: Vec<Gap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TradeIdCheck {
    InOrder,
    /// Trades before it are missing.
    Gap,
    /// It is late, and closes a gap or a part of one.
    FillsGap,
}

/// Late trades close the gaps that they belong to. Ids above 63 bits are not checked.
#[derive(Debug, Default)]
pub(super) struct TradeIdTracker {
    next: Option<i64>,
    last_ns: i64,
    last_venue_ns: i64,
    newest_venue_ns: i64,
    open: VecDeque<Gap>,
    /// Open gaps that left the full list.
    forgotten: GapSum,
    pub(super) gaps_seen: u64,
    pub(super) missing: u64,
}

impl TradeIdTracker {
    /// `at_ns` is the receive time of the trade, `venue_ns` its time by the venue's clock.
    pub(super) fn check(&mut self, id: u64, at_ns: i64, venue_ns: i64) -> TradeIdCheck {
        let Ok(id) = i64::try_from(id) else { return TradeIdCheck::InOrder };
        let next = self.next.unwrap_or(id);
        let is_newest = venue_ns > self.newest_venue_ns;
        self.newest_venue_ns = self.newest_venue_ns.max(venue_ns);
        if id < next {
            if self.fill(id) {
                return TradeIdCheck::FillsGap;
            }
            // Late trades are older by the venue's clock: the venue has begun to count anew, as after a relisting.
            if is_newest {
                (self.next, self.last_ns, self.last_venue_ns) = (Some(id + 1), at_ns, venue_ns);
            }
            return TradeIdCheck::InOrder;
        }
        let after_ns = std::mem::replace(&mut self.last_ns, at_ns);
        let after_venue_ns = std::mem::replace(&mut self.last_venue_ns, venue_ns);
        self.next = Some(id.saturating_add(1));
        if id == next {
            return TradeIdCheck::InOrder;
        }
        let mut gap = Gap::trade_ids(next.unsigned_abs(), (id - 1).unsigned_abs(), after_ns, at_ns);
        gap.set_venue_times(Some(after_venue_ns), Some(venue_ns));
        self.gaps_seen += 1;
        self.missing = self.missing.saturating_add((id - next).unsigned_abs());
        self.open.push_back(gap);
        self.bound();
        TradeIdCheck::Gap
    }

    fn bound(&mut self) {
        while self.open.len() > TRADE_GAPS_MAX {
            if let Some(gap) = self.open.pop_front() {
                self.forgotten.add(gap);
            }
        }
    }

    /// The sum of the gaps that left the full list since the last call.
    pub(super) fn take_forgotten(&mut self) -> Option<Gap> {
        self.forgotten.take()
    }

    /// Sets cause and evidence of the gaps without.
    pub(super) fn explain(&mut self, explain: impl Fn(&Gap) -> (GapCause, String)) {
        for gap in self.open.iter_mut().chain(self.forgotten.first_mut()) {
            if gap.evidence.is_empty() {
                let (cause, evidence) = explain(gap);
                gap.explain(cause, evidence);
            }
        }
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Gap> {
        self.open.iter()
    }

    fn fill(&mut self, id: i64) -> bool {
        let range = |gap: &Gap| Some((gap.from_sequence?, gap.to_sequence?));
        let contains = |gap: &Gap| range(gap).is_some_and(|(first, last)| first <= id && id <= last);
        let Some(index) = self.open.iter().position(contains) else { return false };
        let Some(gap) = self.open.remove(index) else { return false };
        let (first, last) = range(&gap).unwrap_or((id, id));
        self.missing = self.missing.saturating_sub(1);
        let part = |first: i64, last: i64| {
            let mut part = gap.clone();
            part.set_trade_ids(first.unsigned_abs(), last.unsigned_abs());
            part
        };
        if id < last {
            self.open.insert(index, part(id + 1, last));
        }
        if first < id {
            self.open.insert(index, part(first, id - 1));
        }
        self.bound();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_is_detected_while_its_id_is_in_the_bounded_window() {
        let mut recent = RecentIds::of(DataType::Trade);
        for id in 0..10_000_u128 {
            assert!(recent.insert(EventId(id)));
            assert!(!recent.insert(EventId(id)));
            assert!(!recent.insert(EventId(id.saturating_sub(4_000).max(id.saturating_sub(4_095)))));
        }
        assert_eq!((recent.order.len(), recent.ids.len()), (RECENT_TRADE_IDS_MAX, RECENT_TRADE_IDS_MAX));
        assert!(recent.insert(EventId(1)), "its id left the window");
    }

    fn ids(gap: &Gap) -> (i64, i64) {
        gap.from_sequence.zip(gap.to_sequence).unwrap()
    }

    #[test]
    fn gaps_have_both_ends_and_late_trades_close_them_in_any_order() {
        let mut tracker = TradeIdTracker::default();
        assert_eq!(tracker.check(10, 1, 10), TradeIdCheck::InOrder);
        assert_eq!(tracker.check(11, 2, 20), TradeIdCheck::InOrder);
        assert_eq!(tracker.check(16, 3, 30), TradeIdCheck::Gap);
        let mut gap = Gap::trade_ids(12, 15, 2, 3);
        gap.set_venue_times(Some(20), Some(30));
        assert_eq!(tracker.open().cloned().collect::<Vec<_>>(), [gap]);
        assert_eq!((tracker.missing, tracker.gaps_seen), (4, 1));
        assert_eq!(tracker.check(13, 4, 40), TradeIdCheck::FillsGap);
        assert_eq!(tracker.open().map(ids).collect::<Vec<_>>(), [(12, 12), (14, 15)]);
        for late in [15, 12, 14] {
            assert_eq!(tracker.check(late, 5, 50), TradeIdCheck::FillsGap);
        }
        assert_eq!(tracker.check(5, 5, 50), TradeIdCheck::InOrder);
        assert_eq!((tracker.missing, tracker.open().count()), (0, 0));
        assert_eq!(tracker.check(17, 6, 60), TradeIdCheck::InOrder);
    }

    #[test]
    fn gaps_are_found_also_after_the_venue_counts_anew() {
        let mut tracker = TradeIdTracker::default();
        let check = |tracker: &mut TradeIdTracker, id, venue_ns| tracker.check(id, 1, venue_ns);
        assert_eq!(check(&mut tracker, 1_000, 50), TradeIdCheck::InOrder);
        // Ids need not rise with the venue's time, and late trades are older.
        assert_eq!(check(&mut tracker, 1_001, 40), TradeIdCheck::InOrder);
        assert_eq!(check(&mut tracker, 900, 45), TradeIdCheck::InOrder);
        assert_eq!(check(&mut tracker, 1_002, 60), TradeIdCheck::InOrder);
        assert_eq!(check(&mut tracker, 7, 70), TradeIdCheck::InOrder, "counts anew");
        assert_eq!(check(&mut tracker, 8, 71), TradeIdCheck::InOrder);
        assert_eq!(check(&mut tracker, 10, 72), TradeIdCheck::Gap);
        assert_eq!(tracker.open().map(ids).collect::<Vec<_>>(), [(9, 9)]);
    }

    #[test]
    fn listed_gaps_and_the_sum_of_the_rest_are_all_that_is_missing() {
        let mut tracker = TradeIdTracker::default();
        for (id, at) in (0..1_000).zip(1..) {
            tracker.check(id * 3, at, at);
        }
        tracker.explain(|_| (GapCause::Venue, "seen".to_owned()));
        let listed: u64 = tracker.open().filter_map(|gap| gap.missing).sum();
        let sum = tracker.take_forgotten().unwrap();
        assert_eq!((sum.from_sequence, sum.from), (Some(1), 1));
        assert_eq!(sum.evidence, format!("{} gaps in one, the first: seen", 999 - TRADE_GAPS_MAX));
        assert_eq!((listed + sum.missing.unwrap(), tracker.missing), (1_998, 1_998));
        assert_eq!(tracker.take_forgotten(), None);
    }
}
