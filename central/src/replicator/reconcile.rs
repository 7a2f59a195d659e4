//! Reconciliation of copied windows with their log, and the periodic recheck: everything that hot holds, and in turn what only cold holds.

use std::time::{Duration, Instant};

use futures_util::future::{try_join, try_join3};

use super::evaluate::{Reference, WindowCondition, WindowFacts, evaluate};
use super::queries::CopyError;
use super::window::{Digests, TimeRange, WindowDigest, align};
use super::window_log::{LoggedWindow, WindowState};
use super::window_ops::{WindowOps, all_starts};
use crate::{clock, limits};

#[derive(Debug, Clone)]
pub struct EvaluatedWindow {
    pub start_ms: i64,
    pub facts: WindowFacts,
    pub condition: WindowCondition,
    pub logged: Option<LoggedWindow>,
}

/// Result of a comparison row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowComparison {
    /// Hot has rows that cold lacks, and nothing else differs.
    LateRows(usize),
    /// Hot lacks rows that may have expired there, and nothing else differs.
    HotExpired,
    /// The reason.
    Modified(String),
}

impl WindowOps<'_> {
    /// Compares hot, cold and the log. Returns the windows that need an action.
    pub async fn examine(&self, span: TimeRange) -> Result<Vec<EvaluatedWindow>, CopyError> {
        let mut windows = self.evaluate_windows(span).await?;
        windows.retain(EvaluatedWindow::needs_something);
        Ok(windows)
    }

    /// As [`Self::examine`], if content changes only together with ids. Windows that differ by their ids are compared by content too.
    async fn examine_by_ids(&self, span: TimeRange) -> Result<Vec<EvaluatedWindow>, CopyError> {
        let (table, width_ms) = (self.table, self.width_ms);
        let (log, hot, cold) = try_join3(
            self.logged(span),
            self.pair.hot.id_digests(table, span, width_ms),
            self.pair.cold.id_digests(table, span, width_ms),
        )
        .await?;
        let mut differing = Vec::new();
        for start_ms in all_starts(&log, &hot, &cold) {
            let of = |digests: &Digests| digests.get(&start_ms).copied().unwrap_or_default();
            if !self.is_as_logged(log.get(&start_ms), &of(&hot), &of(&cold)) {
                differing.extend(self.examine(TimeRange::window(start_ms, width_ms)).await?);
            }
        }
        Ok(differing)
    }

    /// By ids. What hot lacks may have expired or been removed.
    fn is_as_logged(&self, logged: Option<&LoggedWindow>, hot: &WindowDigest, cold: &WindowDigest) -> bool {
        logged.is_some_and(|logged| {
            let is_gone = hot.rows == 0 && !self.is_hot_whole(Some(logged), hot);
            logged.state == WindowState::Verified
                && logged.columns_hash == self.table.columns_hash
                && cold.has_same_ids(&logged.reference)
                && (is_gone || hot.has_same_ids(&logged.reference))
        })
    }

    /// Compares hot, cold and the log in every window of a range that one of them holds.
    pub async fn evaluate_windows(&self, span: TimeRange) -> Result<Vec<EvaluatedWindow>, CopyError> {
        let (log, hot, cold) =
            try_join3(self.logged(span), self.hot_digests(span), self.cold_digests(span, false)).await?;
        let evaluated = all_starts(&log, &hot, &cold).into_iter().map(|start_ms| {
            let logged = log.get(&start_ms).cloned();
            let hot = hot.get(&start_ms).copied().unwrap_or_default();
            let cold = cold.get(&start_ms).copied().unwrap_or_default();
            let reference = logged.as_ref().map(|logged| Reference {
                state: logged.reference,
                has_same_columns: logged.columns_hash == self.table.columns_hash,
                is_open: logged.state == WindowState::Open || logged.was_never_verified(),
            });
            let facts = WindowFacts {
                log: reference,
                hot,
                cold,
                is_hot_whole: self.is_hot_whole(logged.as_ref(), &hot),
                is_cold_whole: self.is_cold_whole(logged.as_ref()),
            };
            EvaluatedWindow { start_ms, condition: evaluate(&facts), facts, logged }
        });
        Ok(evaluated.collect())
    }

    /// Logs a difference, or copies the window again. Returns true if the window is sound now.
    pub async fn reconcile(&self, examined: &EvaluatedWindow) -> Result<bool, CopyError> {
        let EvaluatedWindow { start_ms, facts, condition, logged } = examined;
        match condition {
            WindowCondition::Sound => self.refresh_log(examined).await.map(|()| true),
            WindowCondition::New => self.copy_again(*start_ms, None).await,
            WindowCondition::CompareRows => match self.compare_rows(examined).await? {
                RowComparison::LateRows(rows) => {
                    self.copy_again(*start_ms, logged.as_ref().map(|l| (l, rows))).await
                }
                RowComparison::HotExpired => {
                    if facts.log.is_some_and(|log| log.is_open) {
                        self.write(&[self.verified(*start_ms, &facts.cold, logged.as_ref(), 1)]).await?;
                    }
                    Ok(true)
                }
                RowComparison::Modified(reason) => self.log_mismatch(examined, reason).await,
            },
            _ => self.log_mismatch(examined, self.modification(examined).await?).await,
        }
    }

    /// Modified side of a window that the digests alone decide, as text.
    pub async fn modification(&self, examined: &EvaluatedWindow) -> Result<String, CopyError> {
        let EvaluatedWindow { facts: WindowFacts { cold, .. }, condition, logged, .. } = examined;
        Ok(match condition {
            WindowCondition::ColdModified => {
                format!("cold was modified, hot is as verified; {}", self.describe(examined).await?)
            }
            WindowCondition::ColdModifiedHotGone => format!(
                "cold was modified: {} rows now, {} verified; hot no longer holds the window",
                cold.rows,
                logged.as_ref().map_or(0, |logged| logged.reference.rows)
            ),
            WindowCondition::BothModifiedAlike => {
                "hot and cold are equal but differ from the verified state: both were modified".to_owned()
            }
            WindowCondition::NeverCopied => {
                format!("cold holds {} rows of a window that was never copied; hot holds none", cold.rows)
            }
            _ => format!(
                "hot, cold and the verified state all differ; cannot decide which side is right; {}",
                self.describe(examined).await?
            ),
        })
    }

    /// Hot differs from the log, or the window is open: compares row by row.
    pub async fn compare_rows(&self, examined: &EvaluatedWindow) -> Result<RowComparison, CopyError> {
        let EvaluatedWindow { start_ms, facts, .. } = examined;
        let WindowFacts { hot, cold, is_hot_whole, log, .. } = facts;
        let Some(diff) = self.diff(*start_ms, hot, cold).await? else {
            return Ok(RowComparison::Modified(format!(
                "hot differs from the verified state: {} rows in hot, {} in cold",
                hot.rows, cold.rows
            )));
        };
        let late_only = diff.is_cold_within_hot() || (!is_hot_whole && diff.differing.is_empty());
        if late_only && (*is_hot_whole || !diff.only_hot.is_empty()) {
            return Ok(RowComparison::LateRows(diff.only_hot.len()));
        }
        if !is_hot_whole && diff.is_hot_within_cold() {
            return Ok(RowComparison::HotExpired);
        }
        let is_cold_as_logged = log.is_some_and(|log| cold.is_same(&log.state));
        Ok(RowComparison::Modified(if is_cold_as_logged {
            format!("hot was modified, cold is as verified; {diff}")
        } else {
            format!("hot, cold and the verified state all differ; cannot decide which side is right; {diff}")
        }))
    }

    /// Copies a window again. It is logged as open first, so that the next lease holder does not take a partial copy for a modification.
    pub async fn copy_again(
        &self,
        start_ms: i64,
        earlier: Option<(&LoggedWindow, usize)>,
    ) -> Result<bool, CopyError> {
        if let Some((logged, late)) = earlier {
            let open = LoggedWindow {
                state: WindowState::Open,
                reason: logged.reason_after(&format!("{late} late rows")),
                ..logged.clone()
            };
            self.write(&[open]).await?;
        }
        let logged = self.replicate(TimeRange::window(start_ms, self.width_ms)).await?;
        Ok(logged.iter().all(|window| window.state == WindowState::Verified))
    }

    /// Logs a sound window whose log entry is outdated in state or columns.
    async fn refresh_log(&self, examined: &EvaluatedWindow) -> Result<(), CopyError> {
        let EvaluatedWindow { start_ms, facts, logged, .. } = examined;
        let Some(logged) = logged else { return Ok(()) };
        let state = if facts.is_hot_whole { facts.hot } else { facts.cold };
        let mut entry = self.verified(*start_ms, &state, Some(logged), 0);
        entry.reference.oldest_us = entry.reference.oldest_us.min(logged.reference.oldest_us);
        self.write(&[entry]).await
    }

    async fn describe(&self, examined: &EvaluatedWindow) -> Result<String, CopyError> {
        let WindowFacts { hot, cold, .. } = &examined.facts;
        let diff = self.diff(examined.start_ms, hot, cold).await?;
        Ok(diff.map_or_else(|| format!("{} rows in hot, {} in cold", hot.rows, cold.rows), |d| d.to_string()))
    }

    /// Logs a mismatch unless the log says so already. Returns false: the window is not sound.
    async fn log_mismatch(&self, examined: &EvaluatedWindow, reason: String) -> Result<bool, CopyError> {
        let EvaluatedWindow { start_ms, facts: WindowFacts { hot, cold, .. }, logged, .. } = examined;
        let entry = self.unsound(*start_ms, WindowState::Mismatch, reason, hot, cold, logged.as_ref());
        let same = |logged: &LoggedWindow| {
            (logged.state, &logged.reason, logged.cold_rows) == (entry.state, &entry.reason, entry.cold_rows)
        };
        if !logged.as_ref().is_some_and(same) {
            self.write(&[entry]).await?;
        }
        Ok(false)
    }
}

impl EvaluatedWindow {
    fn needs_something(&self) -> bool {
        let is_settled = self.logged.as_ref().is_none_or(|logged| logged.state == WindowState::Verified);
        let has_same_columns = self.facts.log.is_none_or(|log| log.has_same_columns);
        let is_being_corrected = self.logged.as_ref().is_some_and(LoggedWindow::is_being_corrected);
        !is_being_corrected && (self.condition != WindowCondition::Sound || !is_settled || !has_same_columns)
    }
}

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
            mutations: None,
            content_from_ms: None,
            old_from_ms: None,
        }
    }

    /// Time until the next step has something to compare.
    pub fn due_in(&self) -> Duration {
        if self.left.is_empty() { self.due.saturating_duration_since(Instant::now()) } else { Duration::ZERO }
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
        self.mutations = None;
        (self.due, self.first_upto_ms) = (Instant::now(), upto_ms);
    }

    /// Rechecks for a bounded time, at least one range. `first_ms` is the first window to compare.
    pub async fn step(&mut self, ops: &WindowOps<'_>, first_ms: i64, upto_ms: i64) -> Result<(), CopyError> {
        let now = Instant::now();
        if self.left.is_empty() {
            if now < self.due {
                return Ok(());
            }
            self.begin(ops, first_ms, self.first_upto_ms.unwrap_or(upto_ms)).await?;
            self.first_upto_ms = None;
        }
        while let Some((whole, depth)) = self.left.pop() {
            let span_ms = ops.width_ms * limits::RECHECK_WINDOWS;
            let end_ms = whole.to_ms.min(whole.from_ms.saturating_add(span_ms));
            let done_to_ms = self
                .compare(ops, TimeRange::new(whole.from_ms, end_ms), depth, now)
                .await
                .inspect_err(|_| {
                    self.left.push((whole, depth));
                })?;
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

    async fn begin(&mut self, ops: &WindowOps<'_>, first_ms: i64, upto_ms: i64) -> Result<(), CopyError> {
        self.began = Instant::now();
        let extent = ops.log.extent(&ops.pair.cold).await?;
        let logged_ms = extent.map_or(upto_ms, |(first_ms, _)| first_ms);
        let ttl_ms = i64::from(ops.context.config.clickhouse.hot_ttl_days) * DAY_MS;
        let now_ms = clock::now_ns() / 1_000_000;
        let retained_ms = align(now_ms - ttl_ms - DAY_MS, ops.width_ms).max(first_ms);
        let recent_ms = first_held(ops, TimeRange::new(retained_ms, upto_ms)).await?.max(retained_ms);
        let old_ms =
            self.old_from_ms.filter(|from| (logged_ms..retained_ms).contains(from)).unwrap_or(logged_ms);
        let old_end_ms = retained_ms.min(old_ms.saturating_add(ops.width_ms * limits::RECHECK_OLD_WINDOWS));
        self.old_from_ms = Some(old_end_ms);
        let old = (TimeRange::new(old_ms, old_end_ms), Depth::Content);
        let recent = self.recent_ranges(ops, TimeRange::new(recent_ms, upto_ms)).await?;
        // Taken from the end.
        self.left =
            std::iter::once(old).chain(recent).filter(|(span, _)| span.from_ms < span.to_ms).collect();
        Ok(())
    }

    async fn recent_ranges(
        &mut self,
        ops: &WindowOps<'_>,
        recent: TimeRange,
    ) -> Result<Vec<(TimeRange, Depth)>, CopyError> {
        let (hot, cold) =
            try_join(ops.pair.hot.mutations(ops.table), ops.pair.cold.mutations(ops.table)).await?;
        let mutations = hot.zip(cold).map(|(hot, cold)| [hot, cold]);
        let before = std::mem::replace(&mut self.mutations, mutations);
        let is_mutated = before.is_none() || before != mutations;
        let turn_ms = ops.width_ms * limits::RECHECK_CONTENT_WINDOWS;
        Ok(recent_ranges(recent, is_mutated, &mut self.content_from_ms, turn_ms))
    }

    /// Compares a range and reconciles what differs; returns where it stopped.
    async fn compare(
        &self,
        ops: &WindowOps<'_>,
        span: TimeRange,
        depth: Depth,
        turn: Instant,
    ) -> Result<i64, CopyError> {
        let examined = match depth {
            Depth::Content => ops.examine(span).await?,
            Depth::Ids => ops.examine_by_ids(span).await?,
        };
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
        let metrics = ops.context.metrics;
        metrics.unsound.with_label_values(&[ops.table.name]).set(i64::try_from(unsound).unwrap_or(i64::MAX));
        metrics.recheck_seconds.set(self.began.elapsed().as_secs_f64());
        let every: Duration = ops.context.config.replication.recheck;
        self.due = self.began.checked_add(every).unwrap_or(self.due).max(Instant::now());
        Ok(())
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
    vec![(recent, Depth::Ids), (turn, Depth::Content)]
}

/// Start of the first window of a range that hot, cold or the log holds; the end of the range if there is none.
async fn first_held(ops: &WindowOps<'_>, span: TimeRange) -> Result<i64, CopyError> {
    let hot = ops.pair.hot.first(ops.table, span).await?;
    let cold = ops.pair.cold.first(ops.table, span).await?;
    let logged = ops.log.extent(&ops.pair.cold).await?.map(|(first_ms, _)| first_ms);
    let first_ms = [hot, cold, logged].into_iter().flatten().min().unwrap_or(span.to_ms);
    Ok(align(first_ms, ops.width_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
