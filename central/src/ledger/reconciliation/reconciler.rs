//! Scheduler of the reconciliation: which windows are evaluated when, which verdicts are written, and the recheck of everything in hot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use marketprism_schema::{Capability, Table};

use super::evaluate::{Arrival, Evaluation, WindowInputs, evaluate};
use super::expected_streams::ExpectedStreams;
use super::inputs::{InputReader, RangeInputs, RowsToRead, is_ingested};
use super::queries;
use super::queries::WindowKey;
use super::verdict::{IdRange, VerdictState, WindowVerdict};
use super::write_verdicts::{self, VerdictChange};
use crate::context::CentralContext;
use crate::dropped_rows::DroppedRows;
use crate::ledger::windows::{DirtyWindows, SECOND_NS, WindowGrid, WindowRange};
use crate::time::nanos;
use crate::{clock, limits};

/// Age of venue times at receipt when audits do not report it.
const UNREPORTED_AGE_NS: i64 = 3_600 * SECOND_NS;
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// A window is evaluated after this fraction of the grace period even when no audit has arrived.
const FIRST_LOOK: i64 = 4;

pub struct Reconciler {
    pub(super) shared: Arc<CentralContext>,
    pub(super) grid: WindowGrid,
    pub(super) expected: ExpectedStreams,
    dirty: Arc<DirtyWindows>,
    pending: PendingWindows,
    /// Earlier windows are closed and already pending.
    closed: i64,
    grace_ns: i64,
    /// Messages older than an audit are ingested this long after it.
    ingest_ns: i64,
    ttl_ns: i64,
    /// Unknown before the first answer of hot.
    dropped: Option<DroppedRows>,
    removed_after_ns: Option<i64>,
}

/// Verdicts of a range of windows as evaluated now.
pub struct RangeEvaluation {
    now_ns: i64,
    inputs: RangeInputs,
    pub states: BTreeMap<WindowKey, VerdictState>,
    /// Verdicts that differ from the stored ones.
    pub changes: Vec<VerdictChange>,
}

impl Reconciler {
    /// Windows that are closed already are evaluated by the first recheck.
    pub fn new(shared: Arc<CentralContext>, dirty: Arc<DirtyWindows>) -> Self {
        let grid = WindowGrid::new(shared.config.ledger.window);
        Self {
            grid,
            expected: ExpectedStreams::new(grid.length_ns()),
            dirty,
            pending: PendingWindows::default(),
            closed: grid.of(clock::now_ns()),
            grace_ns: nanos(shared.config.ledger.grace),
            ingest_ns: nanos(shared.config.batch.longest_age()),
            ttl_ns: i64::from(shared.config.clickhouse.hot_ttl_days) * DAY_NS,
            dropped: None,
            removed_after_ns: shared.config.replication.remove_from_hot_after.map(nanos),
            shared,
        }
    }

    pub(super) fn oldest_kept(&self, now_ns: i64) -> i64 {
        now_ns - self.removed_after_ns.map_or(self.ttl_ns, |removed| removed.min(self.ttl_ns))
    }

    pub async fn round(&mut self) -> anyhow::Result<()> {
        // A false mismatch of rows that hot had dropped would stay.
        if self.dropped.is_none() {
            self.read_dropped_rows().await?;
        }
        let now = clock::now_ns();
        for window in closed_since(self.grid, self.closed, now, self.oldest_kept(now)) {
            let end = self.grid.range(window).to;
            self.pending.add(window, end.saturating_add(self.grace_ns / FIRST_LOOK));
        }
        self.closed = self.grid.of(now);
        for window in self.dirty.take().into_iter().map(|window| self.grid.of(window)) {
            self.pending.add(window, self.grid.range(window).to.max(now.saturating_add(self.ingest_ns)));
        }
        for range in self.expected.spans(self.grid, &self.pending.due(now)) {
            self.evaluate_range(range, RowsToRead::Ready).await?;
        }
        Ok(())
    }

    async fn read_dropped_rows(&mut self) -> anyhow::Result<()> {
        let read = DroppedRows::read(&self.shared.storage).await;
        self.dropped = Some(read.context("cannot read what hot dropped under an earlier configuration")?);
        Ok(())
    }

    /// Evaluates every closed window of a range, read-only.
    pub(super) async fn evaluate_now(
        &mut self,
        range: WindowRange,
        read: RowsToRead<'_>,
    ) -> anyhow::Result<RangeEvaluation> {
        let now_ns = clock::now_ns();
        let reader = InputReader {
            storage: &self.shared.storage,
            broker: &self.shared.broker,
            streams: &self.shared.config.streams,
            grid: self.grid,
            grace_ns: self.grace_ns,
            now_ns,
        };
        let inputs = reader.read(range, read, &mut self.expected).await?;
        let mut states = BTreeMap::new();
        let mut changes = Vec::new();
        for key in self.keys(&inputs, range, now_ns) {
            let evaluation = self.evaluate_key(&key, &inputs, now_ns);
            let stored = inputs.stored.get(&key);
            let mut state = stored.map(|verdict| verdict.state);
            if let Some((verdict, event)) = decide(evaluation, stored) {
                state = Some(verdict.state);
                let before = stored.cloned();
                changes.push(VerdictChange { key: key.clone(), verdict, event, before });
            }
            if let Some(state) = state {
                states.insert(key, state);
            }
        }
        Ok(RangeEvaluation { now_ns, inputs, states, changes })
    }

    /// Evaluates every closed window of a range and writes the verdicts that changed.
    pub(super) async fn evaluate_range(
        &mut self,
        range: WindowRange,
        read: RowsToRead<'_>,
    ) -> anyhow::Result<()> {
        let RangeEvaluation { now_ns, inputs, states, mut changes } = self.evaluate_now(range, read).await?;
        let of_open = states.iter().filter(|(_, state)| **state == VerdictState::Open);
        let open: BTreeSet<i64> = of_open.map(|((window, _), _)| *window).collect();
        // With an audit that arrived meanwhile the verdict would be half informed; its window is evaluated again at once.
        changes.retain(|change| !self.dirty.is_any_in(self.grid.range(change.key.0)));
        write_verdicts::write(&self.shared, self.grid, range, changes).await?;
        for window in self.grid.within(range).filter(|&window| self.grid.range(window).to <= now_ns) {
            let end = self.grid.range(window).to;
            let final_ns = end.saturating_add(self.grace_ns);
            if inputs.without_audit.contains(&window) {
                self.pending.defer(window, final_ns);
            } else if open.contains(&window) || !inputs.read.contains(&window) {
                self.pending.postpone(window, end, final_ns, now_ns);
            } else {
                self.pending.remove(window);
            }
        }
        Ok(())
    }

    /// Closed windows with audits, rows, an open verdict or an expected audit.
    fn keys(&self, inputs: &RangeInputs, range: WindowRange, now_ns: i64) -> BTreeSet<WindowKey> {
        let standing_open = inputs
            .stored
            .iter()
            .filter(|(_, verdict)| verdict.state == VerdictState::Open)
            .map(|(key, _)| key);
        // Their ids are another edge's too: none may claim ids that hot has lost.
        let outdated = inputs
            .stored
            .iter()
            .filter(|(key, verdict)| inputs.read.contains(&key.0) && verdict.stored_ids != inputs.ids_of(key))
            .map(|(key, _)| key);
        let known = inputs.audits.keys().chain(inputs.contents.keys()).chain(standing_open).chain(outdated);
        let known = known.cloned();
        let expected = self.grid.within(range).flat_map(|window| self.expected.expected(window));
        let is_closed = |key: &WindowKey| self.grid.range(key.0).to <= now_ns && self.grid.of(key.0) == key.0;
        known.chain(expected).filter(is_closed).collect()
    }

    fn evaluate_key(&self, key: &WindowKey, inputs: &RangeInputs, now_ns: i64) -> Evaluation {
        let (window, edge_stream) = key;
        let range = self.grid.range(*window);
        let audits = inputs.audits.get(key).map(Vec::as_slice).unwrap_or_default();
        let final_ns = range.to.saturating_add(self.grace_ns);
        let arrival = if now_ns < final_ns {
            Arrival::WithinGrace
        } else if audits.is_empty() && inputs.frontier.audits < final_ns
            || !is_ingested(audits, inputs.frontier.of(edge_stream.stream.data_type))
        {
            Arrival::IngestBehind
        } else {
            Arrival::Complete
        };
        let case = WindowInputs {
            edge_stream,
            window: range,
            audits,
            contents: inputs
                .read
                .contains(window)
                .then(|| inputs.contents.get(key).copied().unwrap_or_default()),
            capability: self.expected.capability(&edge_stream.stream).unwrap_or(Capability::UNNUMBERED),
            stored_ids: inputs.ids_of(key),
            downtimes: inputs.downtimes.get(edge_stream).map(Vec::as_slice).unwrap_or_default(),
            ambiguous_missing: inputs.ambiguous_missing.get(key).copied().unwrap_or_default(),
            duplicates_missing: inputs.duplicates_missing.get(key).copied().unwrap_or_default(),
            expectation: self.expected.expects(edge_stream, *window),
            is_first: self.expected.is_first(edge_stream, *window),
            is_known: self.expected.is_known_before(edge_stream, *window),
            arrival,
            is_trimmed: self.is_trimmed(key, inputs, now_ns),
            is_relived: inputs.is_relived(&edge_stream.edge, range),
            was_early: inputs.stored.get(key).is_some_and(|stored| stored.is_early),
        };
        match (evaluate(&case), inputs.stored.get(key)) {
            // The ids of a window are those of all edges: a verdict that stays must not claim ids that hot has lost.
            (Evaluation::Nothing, Some(stored)) if case.contents.is_some() && !case.is_trimmed => {
                outdated(stored, case.stored_ids)
            }
            (evaluation, _) => evaluation,
        }
    }

    /// Rows of the window may have been dropped from hot on purpose: by its TTL, as removed, or so under an earlier configuration.
    fn is_trimmed(&self, key: &WindowKey, inputs: &RangeInputs, now_ns: i64) -> bool {
        let from = self.grid.range(key.0).from;
        let audits = inputs.audits.get(key).map(Vec::as_slice).unwrap_or_default();
        let reported = audits.iter().map(|audit| audit.oldest_us.map(|us| us.saturating_mul(1_000)));
        let unreported = from - UNREPORTED_AGE_NS;
        let oldest = reported.map(|oldest| oldest.unwrap_or(unreported)).min().unwrap_or(unreported);
        // The row of a duplicate is older than its window.
        let names_duplicates = audits.iter().any(|audit| audit.names_duplicates);
        let first = if names_duplicates { from - limits::DUPLICATES_AROUND_NS } else { from };
        let is_removed = self.removed_after_ns.is_some_and(|after| first.saturating_add(after) <= now_ns);
        let is_expired = oldest.saturating_add(self.ttl_ns) <= now_ns + nanos(limits::TTL_MARGIN);
        let dropped = self.dropped.unwrap_or_default();
        let was_expired = oldest / 1_000 < dropped.gone_before_us_in(from / 1_000_000);
        let was_removed = first / 1_000_000 < dropped.removed_before_ms();
        is_expired || was_expired || is_removed || was_removed
    }

    /// Seconds since the end of the oldest window without a final verdict.
    pub fn oldest_open_seconds(&self) -> i64 {
        let end = self.pending.oldest().map(|window| self.grid.range(window).to);
        end.map_or(0, |end| (clock::now_ns() - end).max(0) / SECOND_NS)
    }
}

/// Windows that closed since the last round and of which hot may have rows: a clock that is set forward by years, as at the start of a
/// machine without a battery, passes millions.
fn closed_since(
    grid: WindowGrid,
    closed: i64,
    now_ns: i64,
    oldest_kept_ns: i64,
) -> impl Iterator<Item = i64> {
    let from = closed.max(grid.of(oldest_kept_ns));
    grid.within(WindowRange { from, to: grid.of(now_ns) })
}

/// The stored verdict with the ids that hot holds now.
fn outdated(stored: &WindowVerdict, ids: &[IdRange]) -> Evaluation {
    if stored.stored_ids == ids {
        return Evaluation::Nothing;
    }
    Evaluation::Replace(WindowVerdict { stored_ids: ids.to_vec(), ..stored.clone() }, None)
}

/// The verdict to write, unless the stored one says the same.
fn decide(evaluation: Evaluation, stored: Option<&WindowVerdict>) -> Option<(WindowVerdict, Option<u128>)> {
    let state = stored.map(|verdict| verdict.state);
    match evaluation {
        // Expected once and not any more: no audit will arrive.
        Evaluation::Nothing => stored.filter(|verdict| verdict.state == VerdictState::Open).map(|verdict| {
            let reason = "the edge never reported this window".to_owned();
            (WindowVerdict { state: VerdictState::Unverifiable, reason, ..verdict.clone() }, None)
        }),
        Evaluation::Keep(verdict) => match state {
            None => Some((verdict, None)),
            Some(VerdictState::Open) if verdict.state != VerdictState::Open => Some((verdict, None)),
            Some(_) => None,
        },
        Evaluation::Replace(verdict, event) => {
            let is_new = stored.is_none_or(|stored| !write_verdicts::says_the_same(stored, &verdict));
            is_new.then_some((verdict, event))
        }
    }
}

/// Longest pause between evaluations of an open window.
const PAUSE_MAX_NS: i64 = 60 * SECOND_NS;

/// Bounded by the windows within the retention of the AUDIT stream.
#[derive(Debug, Default)]
pub struct PendingWindows {
    windows: BTreeMap<i64, i64>,
}

impl PendingWindows {
    /// Due at a time, or earlier if it is already.
    pub fn add(&mut self, window: i64, from_ns: i64) {
        self.windows.entry(window).and_modify(|next| *next = from_ns.min(*next)).or_insert(from_ns);
    }

    /// Not due before a time, unless it is added again.
    pub fn defer(&mut self, window: i64, until_ns: i64) {
        self.windows.insert(window, until_ns);
    }

    pub fn remove(&mut self, window: i64) {
        self.windows.remove(&window);
    }

    /// Evaluated without a final verdict: the older the window, the longer the pause, but never beyond the end of its grace period.
    pub fn postpone(&mut self, window: i64, window_end: i64, final_ns: i64, now_ns: i64) {
        let pause = ((now_ns - window_end) / 4).clamp(0, PAUSE_MAX_NS);
        let next = now_ns + pause;
        let next = if now_ns < final_ns { next.min(final_ns) } else { next };
        self.windows.insert(window, next);
    }

    pub fn due(&self, now_ns: i64) -> Vec<i64> {
        self.windows.iter().filter(|&(_, &next)| next <= now_ns).map(|(&window, _)| window).collect()
    }

    pub fn oldest(&self) -> Option<i64> {
        self.windows.keys().next().copied()
    }
}

/// Granularity of the search for occupied times.
const HOUR_NS: i64 = 3_600 * SECOND_NS;

pub struct Recheck {
    every: Duration,
    /// Time per round. Overtime of a range is deducted from the next rounds.
    share: Duration,
    debt: Duration,
    next: Instant,
    began: Instant,
    left: VecDeque<(WindowRange, Vec<Table>)>,
}

impl Recheck {
    pub fn new(every: Duration, interval: Duration) -> Self {
        let share = (interval / limits::RECHECK_SHARE).max(limits::RECHECK_LEAST);
        let now = Instant::now();
        Self { every, share, debt: Duration::ZERO, next: now, began: now, left: VecDeque::new() }
    }

    /// Works for its share of a round; returns the duration of a complete pass at its end.
    pub async fn step(&mut self, reconciler: &mut Reconciler) -> anyhow::Result<Option<Duration>> {
        let (began, credit) = (Instant::now(), self.share.saturating_sub(self.debt));
        self.debt = self.debt.saturating_sub(self.share);
        if credit.is_zero() || (self.left.is_empty() && began < self.next) {
            return Ok(None);
        }
        if self.left.is_empty() {
            self.left = ranges(reconciler).await?;
            (self.began, self.next) = (began, began + self.every);
        }
        while let Some((range, tables)) = self.left.front() {
            reconciler.evaluate_range(*range, RowsToRead::All(tables)).await?;
            self.left.pop_front();
            if began.elapsed() >= credit {
                break;
            }
        }
        self.debt += began.elapsed().saturating_sub(credit);
        Ok(self.left.is_empty().then(|| self.began.elapsed()))
    }
}

/// Ranges that may have something to evaluate, the newest first.
pub(super) async fn ranges(
    reconciler: &mut Reconciler,
) -> anyhow::Result<VecDeque<(WindowRange, Vec<Table>)>> {
    let now = clock::now_ns();
    let storage = reconciler.shared.storage.clone();
    reconciler.expected.read(&storage).await.context("cannot read the reporting periods")?;
    reconciler.read_dropped_rows().await?;
    let from = reconciler.oldest_kept(now);
    let mut hours =
        queries::occupied_hours(&storage, from).await.context("cannot read the occupied hours of hot")?;
    if let Some(reach) = reconciler.expected.reach() {
        let to = reach.to.min(now);
        for hour in reach.from.max(from).div_euclid(HOUR_NS)..=to.div_euclid(HOUR_NS) {
            hours.entry(hour).or_default();
        }
    }
    let grid = reconciler.grid;
    let mut ranges = VecDeque::new();
    for (hour, tables) in hours {
        // Rows may have arrived since then.
        let is_recent = hour >= now.div_euclid(HOUR_NS) - 1;
        let tables: Vec<Table> =
            Table::ALL.into_iter().filter(|table| is_recent || tables.contains(table.name)).collect();
        let range = WindowRange { from: hour * HOUR_NS, to: (hour + 1) * HOUR_NS };
        let closed: Vec<i64> = grid.within(range).filter(|&window| grid.range(window).to <= now).collect();
        for part in reconciler.expected.spans(grid, &closed) {
            ranges.push_front((part, tables.clone()));
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_right_closes_no_windows_of_which_hot_has_no_rows() {
        let grid = WindowGrid::new(Duration::from_secs(60));
        let count = |closed, now_ns| closed_since(grid, closed, now_ns, now_ns - 3 * DAY_NS).count();
        let now = grid.of(1_796_000_000 * SECOND_NS);
        assert_eq!(count(now - 60 * SECOND_NS, now), 1);
        assert_eq!(count(0, now), 3 * 1_440, "since 1970");
        assert_eq!(count(now + 9 * DAY_NS, now), 0, "set back");
    }

    #[test]
    fn pauses_grow_but_never_miss_the_end_of_the_grace_period() {
        let second = |n: i64| n * SECOND_NS;
        let mut pending = PendingWindows::default();
        pending.add(0, second(60));
        pending.add(0, second(90));
        assert_eq!((pending.due(second(59)), pending.due(second(60))), (vec![], vec![0]));
        pending.postpone(0, second(60), second(180), second(172));
        assert_eq!((pending.due(second(179)), pending.due(second(180))), (vec![], vec![0]));
        pending.postpone(0, second(60), second(180), second(10_000));
        assert_eq!((pending.due(second(10_059)).len(), pending.due(second(10_060)).len()), (0, 1));
        pending.defer(0, second(20_000));
        assert!(pending.due(second(19_999)).is_empty());
        pending.add(0, second(11_000));
        assert_eq!(pending.due(second(11_000)), [0]);
        pending.remove(0);
        assert_eq!(pending.oldest(), None);
    }
}
