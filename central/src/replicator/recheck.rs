//! Recheck of copied windows: everything that hot holds, and in turn what only cold holds.

use std::time::{Duration, Instant};

use super::queries::CopyError;
use super::window::{TimeRange, align};
use super::window_ops::WindowOps;
use crate::{clock, limits};

const DAY_MS: i64 = 86_400_000;

#[derive(Debug)]
pub struct TableRecheck {
    /// Start of the next full recheck.
    due: Instant,
    /// End of the first recheck: later windows are compared as they are copied.
    first_upto_ms: Option<i64>,
    /// Rest of the running recheck: the recent range, then a range that only cold holds.
    left: Vec<TimeRange>,
    began: Instant,
    /// Start of the next range that only cold holds.
    old_from_ms: Option<i64>,
}

impl TableRecheck {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { due: now, first_upto_ms: None, left: Vec::new(), began: now, old_from_ms: None }
    }

    /// Windows copied by an earlier run are rechecked at once; without any the first recheck waits its period.
    pub fn resume(&mut self, upto_ms: Option<i64>, every: Duration) {
        self.first_upto_ms = upto_ms;
        if upto_ms.is_none() {
            self.due = self.due.checked_add(every).unwrap_or(self.due);
        }
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
        while let Some(whole) = self.left.pop() {
            let span_ms = ops.width_ms * limits::RECHECK_WINDOWS;
            let end_ms = whole.to_ms.min(whole.from_ms.saturating_add(span_ms));
            let done_to_ms =
                self.compare(ops, TimeRange::new(whole.from_ms, end_ms), now).await.inspect_err(|_| {
                    // Nothing of it counts as compared.
                    self.left.push(whole);
                })?;
            if done_to_ms < whole.to_ms {
                self.left.push(TimeRange::new(done_to_ms, whole.to_ms));
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
        let spans = [TimeRange::new(old_ms, old_end_ms), TimeRange::new(recent_ms, upto_ms)];
        // Taken from the end.
        self.left = spans.into_iter().filter(|span| span.from_ms < span.to_ms).collect();
        Ok(())
    }

    /// Compares a range and reconciles what differs; returns where it stopped.
    async fn compare(&self, ops: &WindowOps<'_>, span: TimeRange, turn: Instant) -> Result<i64, CopyError> {
        for examined in ops.examine(span).await? {
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

/// Start of the first window of a range that hot, cold or the log holds; the end of the range if there is none.
async fn first_held(ops: &WindowOps<'_>, span: TimeRange) -> Result<i64, CopyError> {
    let hot = ops.pair.hot.first(ops.table, span).await?;
    let cold = ops.pair.cold.first(ops.table, span).await?;
    let logged = ops.log.extent(&ops.pair.cold).await?.map(|(first_ms, _)| first_ms);
    let first_ms = [hot, cold, logged].into_iter().flatten().min().unwrap_or(span.to_ms);
    Ok(align(first_ms, ops.width_ms))
}
