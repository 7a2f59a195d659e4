//! Periodic recheck of a table: everything that hot holds, and in turn what only cold holds. A table of which nothing changed since all of it was compared is not read.

use std::time::{Duration, Instant};

use futures_util::future::try_join;

use super::queries::CopyError;
use super::recheck_turns::{SoundComparisons, Turns, has_time};
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
    /// A window needed something.
    has_findings: bool,
    /// The comparisons, with the running one.
    running: Option<SoundComparisons>,
    /// The comparisons up to the last whole recheck.
    sound: Option<SoundComparisons>,
    /// Mutations of hot and cold at the begin of the last recheck.
    mutations: Option<[(u64, u64); 2]>,
    /// Of the recent windows by content.
    content: Turns,
    /// Of what only cold holds.
    old: Turns,
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
            has_findings: false,
            running: None,
            sound: None,
            mutations: None,
            content: Turns::default(),
            old: Turns::default(),
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
        self.left.is_empty()
            && self.sound.as_ref().zip(facts).is_some_and(|(sound, facts)| sound.cover(facts))
    }

    /// Windows copied by an earlier run are rechecked at once; without any the first recheck waits its period.
    pub fn resume(&mut self, upto_ms: Option<i64>, every: Duration) {
        self.first_upto_ms = upto_ms;
        if upto_ms.is_none() {
            self.due = self.due.checked_add(every).unwrap_or(self.due);
        }
    }

    /// The recheck that is due waits: its states cannot be read. Tables whose rechecks are due together wait together.
    pub fn postpone(&mut self, every: Duration) {
        self.due = postponed(self.due, Instant::now(), every.min(limits::RECHECK_RETRY));
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
            if self.is_at_rest(facts) {
                self.end_with(ops);
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
        let first_logged_ms = states.logged(table).first_ms();
        // Windows that were copied since the start are left out.
        let is_whole = self.first_upto_ms.is_none_or(|first| first >= upto_ms);
        let upto_ms = self.first_upto_ms.unwrap_or(upto_ms);
        let logged_ms = first_logged_ms.unwrap_or(upto_ms);
        let ttl_ms = i64::from(ops.context.config.clickhouse.hot_ttl_days) * DAY_MS;
        let now_ms = clock::now_ns() / 1_000_000;
        let retained_ms = align(now_ms - ttl_ms - DAY_MS, ops.width_ms).max(first_ms);
        let span = TimeRange::new(retained_ms, upto_ms);
        let recent_ms = first_held(ops, span, first_logged_ms).await?.max(retained_ms);
        let old =
            self.old.next(TimeRange::new(logged_ms, retained_ms), ops.width_ms * limits::RECHECK_OLD_WINDOWS);
        let old = old.into_iter().map(|span| (span, Depth::Content));
        let facts = states.facts(table);
        let recent = self.recent_ranges(ops, TimeRange::new(recent_ms, upto_ms), facts);
        // Taken from the end.
        self.left = old.chain(recent).filter(|(span, _)| has_time(span)).collect();
        let by_content = self.left.iter().filter(|(_, depth)| *depth == Depth::Content);
        let turns: Vec<TimeRange> = by_content.map(|(span, _)| *span).collect();
        let whole = TimeRange::new(logged_ms.min(recent_ms), upto_ms);
        let with = |facts| SoundComparisons::with(self.sound.as_ref(), (facts, self.asked_at), whole, &turns);
        // Copying passes windows that cold alone has without a change of any fact: they are compared once it has.
        let is_whole = is_whole && ops.pair.cold.newest(ops.table, upto_ms).await?.is_none();
        self.running = facts.filter(|_| is_whole).map(with);
        self.has_findings = false;
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
        recent_ranges(recent, is_mutated, &mut self.content, turn_ms)
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
        let unsound = ops.log.count_unsound(&ops.pair.cold).await?;
        let gauge = ops.context.metrics.unsound.with_label_values(&[ops.table.name]);
        gauge.set(i64::try_from(unsound).unwrap_or(i64::MAX));
        self.sound = self.running.take().filter(|_| !self.has_findings);
        ops.context.metrics.recheck_seconds.set(self.began.elapsed().as_secs_f64());
        self.end_with(ops);
        Ok(())
    }

    /// Tables whose rechecks begin with the same states have the next ones at the same time, and ask for the states of all once.
    fn end_with(&mut self, ops: &WindowOps<'_>) {
        let every: Duration = ops.context.config.replication.recheck;
        self.due = self.asked_at.checked_add(every).unwrap_or(self.due);
    }
}

/// The ranges of a recheck of the recent windows. `is_mutated`: there was a mutation since the last one, or none can be excluded.
fn recent_ranges(
    recent: TimeRange,
    is_mutated: bool,
    content: &mut Turns,
    turn_ms: i64,
) -> Vec<(TimeRange, Depth)> {
    if is_mutated {
        return vec![(recent, Depth::Content)];
    }
    let turn = content.next(recent, turn_ms);
    let by_ids = Some((recent, Depth::Ids)).filter(|_| turn != [recent]);
    by_ids.into_iter().chain(turn.into_iter().map(|span| (span, Depth::Content))).collect()
}

/// The first of the times in steps from `due` that is not over.
fn postponed(due: Instant, now: Instant, step: Duration) -> Instant {
    let late_ms = now.saturating_duration_since(due).as_millis();
    let steps = u32::try_from(late_ms / step.as_millis().max(1)).unwrap_or(u32::MAX).saturating_add(1);
    step.checked_mul(steps).and_then(|wait| due.checked_add(wait)).unwrap_or(now)
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
    fn content_is_compared_after_a_mutation_and_else_in_turn() {
        let recent = TimeRange::new(100, 250);
        let mut turns = Turns::default();
        assert_eq!(recent_ranges(recent, true, &mut turns, 60), [(recent, Depth::Content)]);
        for (from, to) in [(100, 160), (160, 220)] {
            let ranges = recent_ranges(recent, false, &mut turns, 60);
            assert_eq!(ranges, [(recent, Depth::Ids), (TimeRange::new(from, to), Depth::Content)]);
        }
        let small = recent_ranges(recent, false, &mut Turns::default(), 150);
        assert_eq!(small, [(recent, Depth::Content)], "nothing is compared twice");
    }

    #[test]
    fn rechecks_whose_states_cannot_be_read_are_due_together_and_later() {
        let (due, step) = (Instant::now(), Duration::from_secs(60));
        let after = |seconds| due.checked_add(Duration::from_secs(seconds)).unwrap();
        for (now, next) in [(0, 60), (1, 60), (59, 60), (60, 120), (119, 120), (600, 660)] {
            assert_eq!(postponed(due, after(now), step), after(next), "{now}");
        }
    }
}
