//! Comparisons of a range in turns, and what they cover. Both ends of the range move while they go around.

use std::time::Instant;

use super::table_states::TableFacts;
use super::window::TimeRange;
use crate::limits;

/// Goes around a range in turns.
#[derive(Debug, Default)]
pub struct Turns {
    /// End of the last turn.
    from_ms: Option<i64>,
    /// End of the range then.
    end_ms: Option<i64>,
}

impl Turns {
    /// The next turn begins where the last one ended, and goes on at the start of the range. One that no more than kept up with
    /// a growing end would stay there: a turn is at least twice as long as what came since the last one.
    pub fn next(&mut self, range: TimeRange, turn_ms: i64) -> Vec<TimeRange> {
        let grown_ms = self.end_ms.replace(range.to_ms).map_or(0, |end_ms| range.to_ms - end_ms);
        let turn_ms = turn_ms.max(grown_ms.saturating_mul(2));
        let is_in = |from_ms: &i64| (range.from_ms..range.to_ms).contains(from_ms);
        let from_ms = self.from_ms.filter(is_in).unwrap_or(range.from_ms);
        let to_ms = range.to_ms.min(from_ms.saturating_add(turn_ms));
        let rest_ms = turn_ms - (to_ms - from_ms);
        let rest = TimeRange::new(range.from_ms, from_ms.min(range.from_ms.saturating_add(rest_ms)));
        let turn: Vec<_> = [TimeRange::new(from_ms, to_ms), rest].into_iter().filter(has_time).collect();
        self.from_ms = turn.last().map(|last| last.to_ms);
        turn
    }
}

/// Comparisons since a side or the log changed last. None of them found a window that needed something.
#[derive(Debug, Clone)]
pub struct SoundComparisons {
    facts: TableFacts,
    /// Times whose content is still to be compared. Windows that close later are no part of it: with rows, they change the facts.
    left: Vec<TimeRange>,
    /// The last one.
    at: Instant,
}

impl SoundComparisons {
    /// With another one, which compares the content of `turns`. The first one with these facts sets the time that is to be compared.
    pub fn with(
        earlier: Option<&Self>,
        (facts, at): (TableFacts, Instant),
        whole: TimeRange,
        turns: &[TimeRange],
    ) -> Self {
        let earlier = earlier.filter(|earlier| earlier.facts == facts);
        let left = earlier.map_or_else(|| vec![whole], |earlier| earlier.left.clone());
        let left =
            turns.iter().fold(left, |left, turn| left.iter().flat_map(|of| without(*of, *turn)).collect());
        Self { facts, left: left.into_iter().filter(has_time).collect(), at }
    }

    /// Another comparison would find nothing: all content was compared with these facts. Damaged files show only when they are read.
    pub fn cover(&self, facts: TableFacts) -> bool {
        self.facts == facts && self.left.is_empty() && self.at.elapsed() < limits::RECHECK_UNCHANGED
    }
}

pub fn has_time(range: &TimeRange) -> bool {
    range.from_ms < range.to_ms
}

/// The parts before and after another range.
fn without(range: TimeRange, other: TimeRange) -> impl Iterator<Item = TimeRange> {
    let before = TimeRange::new(range.from_ms, range.to_ms.min(other.from_ms));
    let after = TimeRange::new(range.from_ms.max(other.to_ms), range.to_ms);
    [before, after].into_iter().filter(has_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH_MS: i64 = 60_000;
    /// Windows that close in the default period of rechecks.
    const CLOSED: i64 = 10;

    /// Rechecks until every window that the range has now was compared. `begin_moves`: as much leaves it as comes.
    fn rechecks(turns: &mut Turns, range: &mut TimeRange, windows: i64, begin_moves: bool) -> usize {
        let mut left = vec![*range];
        for recheck in 1..1_000 {
            range.to_ms += CLOSED * WIDTH_MS;
            range.from_ms += if begin_moves { CLOSED * WIDTH_MS } else { 0 };
            let turn = turns.next(*range, windows * WIDTH_MS);
            let compared: i64 = turn.iter().map(|of| (of.to_ms - of.from_ms) / WIDTH_MS).sum();
            assert_eq!(compared, windows.min((range.to_ms - range.from_ms) / WIDTH_MS), "a whole turn");
            left.push(TimeRange::new(i64::MIN, range.from_ms));
            let gone = left.pop().into_iter().chain(turn);
            left = gone.fold(left, |left, of| left.iter().flat_map(|l| without(*l, of)).collect());
            if left.is_empty() {
                return recheck;
            }
        }
        panic!("never compared: {left:?}, the range is {range:?}");
    }

    #[test]
    fn turns_come_round_again_while_both_ends_of_the_range_move() {
        let day = 1_440 * WIDTH_MS;
        // Content of the three days and one that hot keeps rows, and a hundred days that only cold holds.
        let (mut content, mut hot) = (Turns::default(), TimeRange::new(0, 4 * day));
        let (mut old, mut cold) = (Turns::default(), TimeRange::new(0, 100 * day));
        for around in 0..6 {
            let needed = rechecks(&mut content, &mut hot, limits::RECHECK_CONTENT_WINDOWS, true);
            assert!(needed <= 54, "{needed} rechecks of hot, time {around}: nine hours");
            let needed = rechecks(&mut old, &mut cold, limits::RECHECK_OLD_WINDOWS, false);
            assert!(needed <= 105, "{needed} rechecks of cold, time {around}: one a day of cold, and a few");
        }
    }

    #[test]
    fn a_range_that_grows_faster_than_its_turns_is_gone_around_all_the_same() {
        let (mut turns, mut range) = (Turns::default(), TimeRange::new(0, 1_000));
        let mut first = 0;
        for _ in 0..100 {
            range.to_ms += 200;
            let turn = turns.next(range, 120);
            first += usize::from(turn.iter().any(|of| of.from_ms == 0));
        }
        assert!(first >= 3, "the start of the range was compared {first} times");
    }

    #[test]
    fn a_turn_is_what_is_next_and_then_what_is_first() {
        let (mut turns, range) = (Turns::default(), TimeRange::new(100, 250));
        for wanted in [&[(100, 160)][..], &[(160, 220)], &[(220, 250), (100, 130)], &[(130, 190)]] {
            let wanted: Vec<_> = wanted.iter().map(|(from, to)| TimeRange::new(*from, *to)).collect();
            assert_eq!(turns.next(range, 60), wanted);
        }
        // Rows have expired meanwhile.
        assert_eq!(turns.next(TimeRange::new(200, 250), 60), [TimeRange::new(200, 250)], "nothing twice");
        assert_eq!(turns.next(TimeRange::new(250, 250), 60), []);
        assert_eq!(turns.next(TimeRange::new(300, 200), 60), []);
    }

    #[test]
    fn a_table_is_at_rest_once_every_part_was_compared_with_the_same_facts() {
        let (now, whole) = (Instant::now(), TimeRange::new(0, 250));
        let range = TimeRange::new;
        let facts = TableFacts::default();
        let mut other = facts;
        other.log.entries = 1;
        let mut sound = SoundComparisons::with(None, (facts, now), whole, &[range(100, 160), range(0, 100)]);
        // The newest windows again and again, longer together than what is left.
        for end_ms in [250, 260, 270, 280] {
            let (grown, newest) = (range(0, end_ms), range(190, end_ms));
            sound = SoundComparisons::with(Some(&sound), (facts, now), grown, &[newest]);
            assert!(!sound.cover(facts), "160 to 190 was not compared: {sound:?}");
        }
        sound = SoundComparisons::with(Some(&sound), (facts, now), range(0, 290), &[range(150, 195)]);
        assert!(sound.cover(facts) && !sound.cover(other), "{sound:?}");
        let changed = SoundComparisons::with(Some(&sound), (other, now), whole, &[range(0, 200)]);
        assert!(!changed.cover(other), "content of before the change counts no more: {changed:?}");
        let long_ago = now.checked_sub(limits::RECHECK_UNCHANGED).unwrap();
        let aged = SoundComparisons { at: long_ago, ..sound };
        assert!(!aged.cover(facts), "damaged files are found by reading");
        let none = SoundComparisons::with(None, (facts, now), range(60, 0), &[]);
        assert!(none.cover(facts), "an empty table: {none:?}");
    }
}
