//! Periodic recheck of a table: everything that hot holds, and in turn what only cold holds. A table of which nothing changed since is not read.

use std::time::{Duration, Instant};

use futures_util::future::try_join;

use super::queries::CopyError;
use super::table_states::{TableFacts, TableStates};
use super::window::{TimeRange, align};
use super::window_ops::WindowOps;
use crate::{clock, limits};

const DAY_MS: i64 = 86_400_000;

/// Depth of the comparison of a window. Content changes without its ids by a mutation only, unless a person replaces parts: so content is
/// compared everywhere after a mutation, else in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Ids,
    Content,
}

/// Comparisons since a side or the log changed last. None of them found a window that needed something.
#[derive(Debug, Clone, Copy)]
struct SoundComparisons {
    facts: TableFacts,
    /// Time whose content is still to be compared: that which hot holds, and that which only cold holds.
    left_ms: [i64; 2],
    /// The last one.
    at: Instant,
}

impl SoundComparisons {
    /// With another one, which compares the content of `turn_ms` of `whole_ms`. Turns follow each other without a hole.
    fn with(
        earlier: Option<Self>,
        (facts, at): (TableFacts, Instant),
        whole_ms: [i64; 2],
        turn_ms: [i64; 2],
    ) -> Self {
        let earlier = earlier.filter(|earlier| earlier.facts == facts);
        let [hot, cold] = earlier.map_or(whole_ms, |earlier| earlier.left_ms);
        let left = |whole_ms: i64, turn_ms: i64| (whole_ms - turn_ms.max(0)).max(0);
        Self { facts, left_ms: [left(hot, turn_ms[0]), left(cold, turn_ms[1])], at }
    }

    /// Another comparison would find nothing: all content was compared with these facts. Damaged files show only when they are read.
    fn cover(&self, facts: TableFacts) -> bool {
        self.facts == facts && self.left_ms == [0, 0] && self.at.elapsed() < limits::RECHECK_UNCHANGED
    }
}

#[derive(Debug)]
pub struct TableRecheck {
    /// Start of the next full recheck.
    due: Instant,
    /// End of the first recheck: later windows are compared as they are copied.
    first_upto_ms: Option<i64>,
    /// Rest of the running recheck: the recent range, then a range that only cold holds.
    left: Vec<(TimeRange, Depth)>,
    began: Instant,
    /// Time of the states that it began with.
    asked_at: Instant,
    /// Windows logged as unsound before it.
    unsound: u64,
    /// A window needed something.
    has_findings: bool,
    /// The comparisons, with the running one.
    running: Option<SoundComparisons>,
    /// The comparisons up to the last whole recheck.
    sound: Option<SoundComparisons>,
    /// Mutations of hot and cold at the begin of the last recheck.
    mutations: Option<[(u64, u64); 2]>,
    /// Start of the next range of the recent windows whose content is compared.
    content_from_ms: Option<i64>,
    /// Start of the next range that only cold holds.
    old_from_ms: Option<i64>,
}

impl TableRecheck {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            due: now,
            first_upto_ms: None,
            left: Vec::new(),
            began: now,
            asked_at: now,
            unsound: 0,
            has_findings: false,
            running: None,
            sound: None,
            mutations: None,
            content_from_ms: None,
            old_from_ms: None,
        }
    }

    /// Time until the next step has something to compare.
    pub fn due_in(&self) -> Duration {
        if self.left.is_empty() { self.due.saturating_duration_since(Instant::now()) } else { Duration::ZERO }
    }

    /// The next recheck needs the states of this time or later; `None` before it is due, and within a running one.
    pub fn begins_from(&self) -> Option<Instant> {
        Some(self.due).filter(|due| self.left.is_empty() && *due <= Instant::now())
    }

    /// A recheck with these states would find nothing.
    pub fn is_at_rest(&self, facts: Option<TableFacts>) -> bool {
        self.left.is_empty() && self.sound.zip(facts).is_some_and(|(sound, facts)| sound.cover(facts))
    }

    /// Windows copied by an earlier run are rechecked at once; without any the first recheck waits its period.
    pub fn resume(&mut self, upto_ms: Option<i64>, every: Duration) {
        self.first_upto_ms = upto_ms;
        if upto_ms.is_none() {
            self.due = self.due.checked_add(every).unwrap_or(self.due);
        }
    }

    /// The next step begins a recheck of everything.
    pub fn restart(&mut self, upto_ms: Option<i64>) {
        self.left.clear();
        (self.mutations, self.sound, self.running) = (None, None, None);
        (self.due, self.first_upto_ms) = (Instant::now(), upto_ms);
    }

    /// Rechecks for a bounded time, at least one range. `first_ms` is the first window to compare. `states`: if a recheck is due.
    pub async fn step(
        &mut self,
        ops: &WindowOps<'_>,
        (first_ms, upto_ms): (i64, i64),
        states: Option<&TableStates>,
    ) -> Result<(), CopyError> {
        let now = Instant::now();
        if self.left.is_empty() {
            let Some(states) = states else { return Ok(()) };
            let facts = states.facts(ops.table.name);
            self.asked_at = states.asked_at;
            self.unsound = states.logged(ops.table.name).unsound;
            if self.is_at_rest(facts) {
                self.end_with(ops, self.unsound);
                return Ok(());
            }
            self.begin(ops, (first_ms, upto_ms), states).await?;
            self.first_upto_ms = None;
        }
        while let Some((whole, depth)) = self.left.pop() {
            let span_ms = ops.width_ms * limits::RECHECK_WINDOWS;
            let end_ms = whole.to_ms.min(whole.from_ms.saturating_add(span_ms));
            let compared = self.compare(ops, TimeRange::new(whole.from_ms, end_ms), depth, now).await;
            let done_to_ms = compared.inspect_err(|_| self.left.push((whole, depth)))?;
            if done_to_ms < whole.to_ms {
                self.left.push((TimeRange::new(done_to_ms, whole.to_ms), depth));
            }
            if now.elapsed() >= limits::RECHECK_TURN {
                break;
            }
        }
        if self.left.is_empty() {
            self.end(ops).await?;
        }
        Ok(())
    }

    async fn begin(
        &mut self,
        ops: &WindowOps<'_>,
        (first_ms, upto_ms): (i64, i64),
        states: &TableStates,
    ) -> Result<(), CopyError> {
        self.began = Instant::now();
        let table = ops.table.name;
        let first_logged_ms = states.logged(table).extent().map(|(first_ms, _)| first_ms);
        // Windows that were copied since the start are left out.
        let is_whole = self.first_upto_ms.is_none_or(|first| first >= upto_ms);
        let upto_ms = self.first_upto_ms.unwrap_or(upto_ms);
        let logged_ms = first_logged_ms.unwrap_or(upto_ms);
        let ttl_ms = i64::from(ops.context.config.clickhouse.hot_ttl_days) * DAY_MS;
        let now_ms = clock::now_ns() / 1_000_000;
        let retained_ms = align(now_ms - ttl_ms - DAY_MS, ops.width_ms).max(first_ms);
        let span = TimeRange::new(retained_ms, upto_ms);
        let recent_ms = first_held(ops, span, first_logged_ms).await?.max(retained_ms);
        let old_ms =
            self.old_from_ms.filter(|from| (logged_ms..retained_ms).contains(from)).unwrap_or(logged_ms);
        let old_end_ms = retained_ms.min(old_ms.saturating_add(ops.width_ms * limits::RECHECK_OLD_WINDOWS));
        self.old_from_ms = Some(old_end_ms);
        let old = (TimeRange::new(old_ms, old_end_ms), Depth::Content);
        let facts = states.facts(table);
        let recent = self.recent_ranges(ops, TimeRange::new(recent_ms, upto_ms), facts);
        let by_content = recent.iter().filter(|(_, depth)| *depth == Depth::Content);
        let turn_ms = [by_content.map(|(span, _)| span.to_ms - span.from_ms).sum(), old_end_ms - old_ms];
        let whole_ms = [upto_ms - recent_ms, retained_ms - logged_ms];
        let with = |facts| SoundComparisons::with(self.sound, (facts, self.asked_at), whole_ms, turn_ms);
        self.running = facts.filter(|_| is_whole).map(with);
        self.has_findings = false;
        // Taken from the end.
        self.left =
            std::iter::once(old).chain(recent).filter(|(span, _)| span.from_ms < span.to_ms).collect();
        Ok(())
    }

    fn recent_ranges(
        &mut self,
        ops: &WindowOps<'_>,
        recent: TimeRange,
        facts: Option<TableFacts>,
    ) -> Vec<(TimeRange, Depth)> {
        let mutations = facts.map(|facts| facts.mutations());
        let before = std::mem::replace(&mut self.mutations, mutations);
        let is_mutated = before.is_none() || before != mutations;
        let turn_ms = ops.width_ms * limits::RECHECK_CONTENT_WINDOWS;
        recent_ranges(recent, is_mutated, &mut self.content_from_ms, turn_ms)
    }

    /// Compares a range and reconciles what differs; returns where it stopped.
    async fn compare(
        &mut self,
        ops: &WindowOps<'_>,
        span: TimeRange,
        depth: Depth,
        turn: Instant,
    ) -> Result<i64, CopyError> {
        let examined = match depth {
            Depth::Content => ops.examine(span).await?,
            Depth::Ids => ops.examine_by_ids(span).await?,
        };
        self.has_findings |= !examined.is_empty();
        for examined in examined {
            if turn.elapsed() >= limits::RECHECK_TURN * 2 && examined.start_ms > span.from_ms {
                return Ok(examined.start_ms);
            }
            ops.check_lease()?;
            ops.reconcile(&examined).await?;
        }
        Ok(span.to_ms)
    }

    async fn end(&mut self, ops: &WindowOps<'_>) -> Result<(), CopyError> {
        let unsound =
            if self.has_findings { ops.log.count_unsound(&ops.pair.cold).await? } else { self.unsound };
        self.sound = self.running.take().filter(|_| !self.has_findings);
        ops.context.metrics.recheck_seconds.set(self.began.elapsed().as_secs_f64());
        self.end_with(ops, unsound);
        Ok(())
    }

    /// Tables whose rechecks begin with the same states have the next ones at the same time, and ask for the states of all once.
    fn end_with(&mut self, ops: &WindowOps<'_>, unsound: u64) {
        let gauge = ops.context.metrics.unsound.with_label_values(&[ops.table.name]);
        gauge.set(i64::try_from(unsound).unwrap_or(i64::MAX));
        let every: Duration = ops.context.config.replication.recheck;
        self.due = self.asked_at.checked_add(every).unwrap_or(self.due);
    }
}

/// The ranges of a recheck of the recent windows. `is_mutated`: there was a mutation since the last one, or none can be excluded.
fn recent_ranges(
    recent: TimeRange,
    is_mutated: bool,
    content_from_ms: &mut Option<i64>,
    turn_ms: i64,
) -> Vec<(TimeRange, Depth)> {
    if is_mutated {
        return vec![(recent, Depth::Content)];
    }
    let is_in = |from_ms: &i64| (recent.from_ms..recent.to_ms).contains(from_ms);
    let from_ms = content_from_ms.filter(is_in).unwrap_or(recent.from_ms);
    let turn = TimeRange::new(from_ms, recent.to_ms.min(from_ms.saturating_add(turn_ms)));
    *content_from_ms = Some(turn.to_ms);
    let by_ids = Some((recent, Depth::Ids)).filter(|_| turn != recent);
    by_ids.into_iter().chain([(turn, Depth::Content)]).collect()
}

/// Start of the first window of a range that hot, cold or the log holds; the end of the range if there is none.
async fn first_held(ops: &WindowOps<'_>, span: TimeRange, logged: Option<i64>) -> Result<i64, CopyError> {
    let (hot, cold) =
        try_join(ops.pair.hot.first(ops.table, span), ops.pair.cold.first(ops.table, span)).await?;
    let first_ms = [hot, cold, logged].into_iter().flatten().min().unwrap_or(span.to_ms);
    Ok(align(first_ms, ops.width_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_at_rest_once_all_content_was_compared_with_the_same_facts() {
        let (now, whole_ms) = (Instant::now(), [150, 100]);
        let facts = TableFacts::default();
        let mut other = facts;
        other.log.windows = 1;
        let mut sound = SoundComparisons::with(None, (facts, now), whole_ms, [60, 100]);
        for turn_ms in [[60, 0], [30, 100]] {
            assert!(!sound.cover(facts), "{sound:?}");
            sound = SoundComparisons::with(Some(sound), (facts, now), whole_ms, turn_ms);
        }
        assert!(sound.cover(facts) && !sound.cover(other), "{sound:?}");
        let changed = SoundComparisons::with(Some(sound), (other, now), whole_ms, [60, 100]);
        assert!(!changed.cover(other), "content of before the change counts no more: {changed:?}");
        let long_ago = now.checked_sub(limits::RECHECK_UNCHANGED).unwrap();
        assert!(
            !SoundComparisons { at: long_ago, ..sound }.cover(facts),
            "damaged files are found by reading"
        );
        let none = SoundComparisons::with(None, (facts, now), [-60, 0], [-60, -60]);
        assert!(none.cover(facts), "an empty table: {none:?}");
    }

    #[test]
    fn content_is_compared_after_a_mutation_and_else_in_turn() {
        let recent = TimeRange::new(100, 250);
        let mut from_ms = None;
        assert_eq!(recent_ranges(recent, true, &mut from_ms, 60), [(recent, Depth::Content)]);
        for (from, to) in [(100, 160), (160, 220), (220, 250), (100, 160)] {
            let ranges = recent_ranges(recent, false, &mut from_ms, 60);
            assert_eq!(ranges, [(recent, Depth::Ids), (TimeRange::new(from, to), Depth::Content)]);
        }
        // Rows have expired meanwhile.
        let later = TimeRange::new(200, 300);
        let ranges = recent_ranges(later, false, &mut from_ms, 60);
        assert_eq!(ranges[1].0, TimeRange::new(200, 260));
        let small = recent_ranges(recent, false, &mut None, 150);
        assert_eq!(small, [(recent, Depth::Content)], "nothing is compared twice");
    }
}
