//! Gaps in trade ids that rise by one.

use std::collections::VecDeque;

use marketprism_adapter_host::InstrumentIndex;
use marketprism_schema::{Gap, GapCause};
use serde::{Deserialize, Serialize};

use crate::audit::GapSum;
use crate::limits::TRADE_GAPS_MAX;

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

/// Consecutive trade ids that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TradeIdRange {
    pub first: u64,
    pub last: u64,
}

impl TradeIdRange {
    fn of(gap: &Gap) -> Option<Self> {
        let (first, last) = gap.from_sequence.zip(gap.to_sequence)?;
        Some(Self { first: first.try_into().ok()?, last: last.try_into().ok()? })
    }

    pub const fn count(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    pub const fn contains(self, id: u64) -> bool {
        self.first <= id && id <= self.last
    }

    fn within(self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { first, last })
    }

    /// The parts before and after another range.
    fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let before = Self { last: self.last.min(other.first.saturating_sub(1)), ..self };
        let after = Self { first: self.first.max(other.last.saturating_add(1)), ..self };
        let before = (self.first < other.first).then_some(before);
        let after = (other.last < self.last).then_some(after);
        before.into_iter().chain(after)
    }
}

/// The newest trade of an instrument and the ids missing before it: where a later run goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TradePosition {
    pub next: i64,
    pub last_venue_ns: i64,
    pub holes: Vec<TradeIdRange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TradeIdCheck {
    InOrder,
    /// Trades before it are missing.
    Gap(TradeIdRange),
    /// As above, from before this run.
    EarlierGap(TradeIdRange),
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
    /// Missing from before this run: these ids are filled, and not reported as a gap of this run.
    earlier: VecDeque<TradeIdRange>,
    /// Parts of open gaps that stay missing: a later run does not look for them.
    decided: Vec<TradeIdRange>,
    /// No trade since the position of an earlier run.
    is_resumed: bool,
    /// Changed since the last call of [`TradeIdTracker::take_position`].
    is_moved: bool,
    /// Ids that left a full list since the last call of [`TradeIdTracker::take_overflow`].
    overflow: Vec<TradeIdRange>,
    /// Open gaps that left the full list.
    forgotten: GapSum,
    pub(super) gaps_seen: u64,
    pub(super) missing: u64,
}

impl TradeIdTracker {
    /// `at_ns` is the receive time of the trade, `venue_ns` its time by the venue's clock.
    pub(super) fn check(&mut self, id: u64, at_ns: i64, venue_ns: i64) -> TradeIdCheck {
        let Ok(id) = i64::try_from(id) else { return TradeIdCheck::InOrder };
        self.is_moved = true;
        let next = self.next.unwrap_or(id);
        let is_newest = venue_ns > self.newest_venue_ns;
        self.newest_venue_ns = self.newest_venue_ns.max(venue_ns);
        if id < next {
            if self.fill(id) {
                return TradeIdCheck::FillsGap;
            }
            // Late trades are older by the venue's clock: the venue has restarted its numbering, as after a relisting.
            if is_newest {
                (self.next, self.last_ns, self.last_venue_ns) = (Some(id + 1), at_ns, venue_ns);
            }
            return TradeIdCheck::InOrder;
        }
        let after_ns = std::mem::replace(&mut self.last_ns, at_ns);
        let after_venue_ns = std::mem::replace(&mut self.last_venue_ns, venue_ns);
        self.next = Some(id.saturating_add(1));
        let is_resumed = std::mem::take(&mut self.is_resumed);
        if id == next {
            return TradeIdCheck::InOrder;
        }
        let range = TradeIdRange { first: next.unsigned_abs(), last: (id - 1).unsigned_abs() };
        if is_resumed {
            self.earlier.push_back(range);
            self.bound();
            return TradeIdCheck::EarlierGap(range);
        }
        let mut gap = Gap::trade_ids(next.unsigned_abs(), (id - 1).unsigned_abs(), after_ns, at_ns);
        gap.set_venue_times(Some(after_venue_ns), Some(venue_ns));
        self.gaps_seen += 1;
        self.missing = self.missing.saturating_add((id - next).unsigned_abs());
        self.open.push_back(gap);
        self.bound();
        TradeIdCheck::Gap(range)
    }

    fn bound(&mut self) {
        while self.open.len() > TRADE_GAPS_MAX {
            if let Some(gap) = self.open.pop_front() {
                self.overflow.extend(TradeIdRange::of(&gap));
                self.forgotten.add(gap);
            }
        }
        while self.earlier.len() > TRADE_GAPS_MAX {
            self.overflow.extend(self.earlier.pop_front());
        }
    }

    pub(super) fn take_overflow(&mut self) -> Vec<TradeIdRange> {
        std::mem::take(&mut self.overflow)
    }

    fn holes(&self) -> impl Iterator<Item = TradeIdRange> {
        self.open.iter().filter_map(TradeIdRange::of).chain(self.earlier.iter().copied())
    }

    pub(super) fn is_missing(&self, id: u64) -> bool {
        self.holes().any(|hole| hole.contains(id))
    }

    /// The id is missing, or comes after all that were seen.
    pub(super) fn awaits(&self, id: u64) -> bool {
        let is_new = |next| i64::try_from(id).is_ok_and(|id| id >= next);
        self.is_missing(id) || self.next.is_some_and(is_new)
    }

    /// The lowest ids of a range that are missing.
    pub(super) fn first_missing(&self, range: TradeIdRange) -> Option<TradeIdRange> {
        self.holes().filter_map(|hole| hole.within(range)).min_by_key(|hole| hole.first)
    }

    /// These ids stay missing: adds to the evidence of their gaps, and forgets those from before this run.
    pub(super) fn leave(&mut self, range: TradeIdRange, note: &str) {
        let is_in = |gap: &Gap, range| TradeIdRange::of(gap).is_some_and(|gap| gap.within(range).is_some());
        for gap in self.open.iter_mut().filter(|gap| is_in(gap, range)) {
            gap.evidence = format!("{}; {note}", gap.evidence);
        }
        self.earlier = self.earlier.iter().flat_map(|hole| hole.without(range)).collect();
        self.decided.push(range);
        self.decided.retain(|range| self.open.iter().any(|gap| is_in(gap, *range)));
        // More than one for each gap: the oldest would be requested again.
        let surplus = self.decided.len().saturating_sub(TRADE_GAPS_MAX);
        self.decided.drain(..surplus);
        self.is_moved = true;
    }

    /// Goes on where an earlier run ended.
    pub(super) fn resume(&mut self, position: &TradePosition) {
        self.next = Some(position.next);
        self.newest_venue_ns = position.last_venue_ns;
        self.earlier.extend(position.holes.iter().copied());
        self.bound();
        self.is_resumed = true;
    }

    /// The position, if it changed since the last call.
    pub(super) fn take_position(&mut self) -> Option<TradePosition> {
        let next = self.next.filter(|_| std::mem::take(&mut self.is_moved))?;
        let without = |holes: Vec<TradeIdRange>, decided: &TradeIdRange| {
            holes.iter().flat_map(|hole| hole.without(*decided)).collect()
        };
        let holes = self.decided.iter().fold(self.holes().collect(), without);
        Some(TradePosition { next, last_venue_ns: self.newest_venue_ns, holes })
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
        if self.fill_earlier(id.unsigned_abs()) {
            return true;
        }
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

    fn fill_earlier(&mut self, id: u64) -> bool {
        let only = TradeIdRange { first: id, last: id };
        let Some(index) = self.earlier.iter().position(|hole| hole.contains(id)) else { return false };
        for part in self.earlier.remove(index).into_iter().flat_map(|hole| hole.without(only)) {
            self.earlier.push_back(part);
        }
        self.bound();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(gap: &Gap) -> (i64, i64) {
        gap.from_sequence.zip(gap.to_sequence).unwrap()
    }

    #[test]
    fn gaps_have_both_ends_and_late_trades_close_them_in_any_order() {
        let mut tracker = TradeIdTracker::default();
        assert_eq!(tracker.check(10, 1, 10), TradeIdCheck::InOrder);
        assert_eq!(tracker.check(11, 2, 20), TradeIdCheck::InOrder);
        assert_eq!(tracker.check(16, 3, 30), TradeIdCheck::Gap(TradeIdRange { first: 12, last: 15 }));
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
    fn gaps_are_found_also_after_the_venue_restarts_its_numbering() {
        let mut tracker = TradeIdTracker::default();
        let check = |tracker: &mut TradeIdTracker, id, venue_ns| tracker.check(id, 1, venue_ns);
        assert_eq!(check(&mut tracker, 1_000, 50), TradeIdCheck::InOrder);
        // Ids need not rise with the venue's time, and late trades are older.
        assert_eq!(check(&mut tracker, 1_001, 40), TradeIdCheck::InOrder);
        assert_eq!(check(&mut tracker, 900, 45), TradeIdCheck::InOrder);
        assert_eq!(check(&mut tracker, 1_002, 60), TradeIdCheck::InOrder);
        assert_eq!(check(&mut tracker, 7, 70), TradeIdCheck::InOrder, "numbering restarted");
        assert_eq!(check(&mut tracker, 8, 71), TradeIdCheck::InOrder);
        assert_eq!(check(&mut tracker, 10, 72), TradeIdCheck::Gap(TradeIdRange { first: 9, last: 9 }));
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

    #[test]
    fn a_later_run_goes_on_at_the_position_of_the_one_before_and_keeps_its_holes() {
        let range = |first, last| TradeIdRange { first, last };
        let mut before = TradeIdTracker::default();
        for (id, at) in [(10, 1), (14, 2), (15, 3)] {
            before.check(id, at, at);
        }
        let position = before.take_position().unwrap();
        assert_eq!(position, TradePosition { next: 16, last_venue_ns: 3, holes: vec![range(11, 13)] });
        assert_eq!(before.take_position(), None, "nothing new");
        let mut after = TradeIdTracker::default();
        after.resume(&position);
        assert_eq!(after.check(15, 4, 3), TradeIdCheck::InOrder, "sent again");
        assert_eq!(after.check(20, 5, 5), TradeIdCheck::EarlierGap(range(16, 19)));
        assert_eq!((after.missing, after.gaps_seen, after.open().count()), (0, 0, 0), "no gap of this run");
        assert!(after.is_missing(12) && after.is_missing(16) && !after.is_missing(20));
        assert_eq!(after.first_missing(range(12, 100)), Some(range(12, 13)));
        for id in [12, 17, 16] {
            assert_eq!(after.check(id, 6, 4), TradeIdCheck::FillsGap, "{id}");
        }
        assert_eq!(after.first_missing(range(0, 100)), Some(range(11, 11)));
        assert_eq!(after.take_position().unwrap().holes, [range(11, 11), range(13, 13), range(18, 19)]);
        assert_eq!(after.check(22, 7, 7), TradeIdCheck::Gap(range(21, 21)), "of this run");
    }

    #[test]
    fn ids_that_are_decided_are_not_looked_for_again() {
        let range = |first, last| TradeIdRange { first, last };
        let mut tracker = TradeIdTracker::default();
        let position = TradePosition { next: 10, last_venue_ns: 1, holes: vec![range(3, 4), range(6, 8)] };
        tracker.resume(&position);
        for (id, at) in [(10, 1), (20, 2), (30, 3)] {
            tracker.check(id, at, at);
        }
        for left in [range(3, 4), range(7, 7), range(13, 29)] {
            tracker.leave(left, "not served");
        }
        assert_eq!(tracker.first_missing(range(0, 10)), Some(range(6, 6)));
        assert_eq!(tracker.open().map(ids).collect::<Vec<_>>(), [(11, 19), (21, 29)], "still gaps");
        assert_eq!(tracker.take_position().unwrap().holes, [range(11, 12), range(6, 6), range(8, 8)]);
        tracker.leave(range(11, 12), "not served");
        assert_eq!(tracker.take_position().unwrap().holes, [range(6, 6), range(8, 8)], "without a trade too");
    }

    #[test]
    fn ids_that_leave_a_full_list_are_reported() {
        let mut tracker = TradeIdTracker::default();
        for (id, at) in (0..70).zip(1..) {
            tracker.check(id * 2, at, at);
        }
        let overflow = tracker.take_overflow();
        assert_eq!(overflow.len(), 69 - TRADE_GAPS_MAX);
        assert!(!tracker.is_missing(overflow[0].first) && tracker.take_overflow().is_empty());
    }
}
