//! Replication of one table, round by round.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::abandoned_moves::AbandonedMoves;
use super::copy::clear_leftovers;
use super::corrections::TableCorrections;
use super::queries::{CopyError, HotCold, TableSpec};
use super::recheck::TableRecheck;
use super::shared_reading::SharedAnswers;
use super::window::{Digests, TimeRange, WindowDigest, align};
use super::window_log::{LoggedWindow, LoggedWindows, WindowLog, WindowState};
use super::window_ops::{CopyContext, WindowOps};
use crate::config::{Config, Start};
use crate::time::millis;
use crate::{clock, limits};

#[path = "worker_states.rs"]
mod states;
#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
#[path = "worker_watermark.rs"]
mod watermark;

pub struct TableWorker<'a> {
    context: CopyContext<'a>,
    table: TableSpec,
    shared: &'a SharedAnswers,
    /// Reopened after every failure of a query.
    pair: Option<HotCold>,
    /// As in the window log: a later change of the configuration does not apply.
    width_ms: Option<i64>,
    /// First window to recheck.
    first_ms: i64,
    /// Everything before it was copied.
    upto_ms: Option<i64>,
    abandoned: AbandonedMoves,
    recheck: TableRecheck,
    corrections: TableCorrections<'a>,
    /// Time of the servers, and when it was read.
    now: Option<(i64, Instant)>,
    /// Time of the start, then of the last write of the watermark, which a reading must not precede.
    moved: Instant,
    /// Time of the last scan for late rows.
    looked_back: Instant,
    /// `created_at` of the newest row of hot, and when it was queried.
    newest: Option<(i64, Instant)>,
    slice_rows: u64,
    windows: i64,
    is_failing: bool,
    /// The recheck waits for states that cannot be read.
    lacks_states: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoundEnd {
    Idle,
    More,
}

impl<'a> TableWorker<'a> {
    pub fn new(
        context: CopyContext<'a>,
        table: TableSpec,
        shared: &'a SharedAnswers,
        pair: Option<HotCold>,
    ) -> Self {
        let windows = windows_a_round(context.config, &table);
        let slice_rows = table.slice_rows;
        let corrections = TableCorrections::new(&shared.corrections, table.name);
        Self {
            context,
            table,
            shared,
            pair,
            width_ms: None,
            first_ms: 0,
            upto_ms: None,
            abandoned: AbandonedMoves::default(),
            recheck: TableRecheck::new(),
            corrections,
            now: None,
            moved: Instant::now(),
            looked_back: Instant::now(),
            newest: None,
            slice_rows,
            windows,
            is_failing: false,
            lacks_states: false,
        }
    }

    /// Works until `stop`, or until another central wants the lease.
    pub async fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() && !self.context.is_wanted() {
            if self.round_with_retries(stop).await == RoundEnd::Idle {
                self.context.rest(self.pause(), stop).await;
            }
        }
    }

    /// Nothing is to be done before the next window closes or the next recheck begins.
    fn pause(&self) -> Duration {
        let replication = &self.context.config.replication;
        let Some(((now_ms, read), width_ms)) = self.now.zip(self.width_ms).filter(|_| !self.is_failing)
        else {
            return replication.interval;
        };
        let closed_ms = now_ms + millis(read.elapsed()) - millis(replication.safety_lag);
        let until_close_ms = align(closed_ms, width_ms) + width_ms - closed_ms;
        let until_close = Duration::from_millis(u64::try_from(until_close_ms).unwrap_or_default());
        pause(replication.interval, until_close, self.recheck.due_in())
    }

    async fn round_with_retries(&mut self, stop: &CancellationToken) -> RoundEnd {
        let table = self.table.name;
        let mut pause = limits::COPY_RETRY_FIRST;
        for tries_left in (0..=self.context.config.replication.retries).rev() {
            let tried = self.round().await;
            self.show_lag(tried.is_ok());
            let error = match tried {
                Ok(left) => {
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!(table, "copying to cold resumed");
                    }
                    self.context.show_failing(table, None);
                    return left;
                }
                Err(CopyError::LeaseLost) => return RoundEnd::Idle,
                Err(error) => error,
            };
            // Less at once where a server was too slow.
            if error.is_timeout() {
                self.windows = 1;
                self.slice_rows = (self.slice_rows / 2).max(limits::SLICE_ROWS_MIN);
            }
            self.context.show_failing(table, Some(error.to_string()));
            if !std::mem::replace(&mut self.is_failing, true) {
                let error = error.to_string();
                tracing::warn!(table, error, "copying to cold failed; retrying, nothing is lost");
            } else {
                tracing::debug!(table, %error, "copying to cold still fails");
            }
            if tries_left == 0 || stop.is_cancelled() || self.context.is_wanted() {
                break;
            }
            self.context.metrics.retries.with_label_values(&[table]).inc();
            self.context.rest(pause, stop).await;
            pause *= 2;
        }
        RoundEnd::Idle
    }

    async fn round(&mut self) -> Result<RoundEnd, CopyError> {
        let pair = match self.pair.take() {
            Some(mut pair) => {
                if self.is_failing {
                    pair.read_dropped().await?;
                }
                pair
            }
            None => self.connect().await?,
        };
        let table = self.table.clone();
        let log = WindowLog { table: table.name };
        let width_ms = match self.width_ms {
            Some(width_ms) => width_ms,
            None => self.resume(&pair).await?,
        };
        let (context, slice_rows) = (self.context, self.slice_rows);
        let ops = WindowOps { context, table: &table, log, pair: &pair, width_ms, slice_rows };
        let left = self.steps(&ops).await;
        match &left {
            Ok(_) => self.windows = windows_a_round(context.config, &table),
            // No query failed: what the table waits for is not over sooner with new connections.
            Err(CopyError::HotPutBack(_) | CopyError::Clocks(_)) => {}
            Err(CopyError::Storage { .. } | CopyError::LeaseLost) => return left,
        }
        self.pair = Some(pair);
        left
    }

    /// Opens new connections. After a failure an abandoned copy may still be running: it must not complete after the next try.
    async fn connect(&self) -> Result<HotCold, CopyError> {
        let pair = HotCold::connect(self.context.config).await?;
        if self.is_failing {
            clear_leftovers(&pair, Some(&self.table)).await?;
        }
        Ok(pair)
    }

    async fn steps(&mut self, ops: &WindowOps<'_>) -> Result<RoundEnd, CopyError> {
        let now_ms = self.now_ms(ops).await?;
        let closed_ms = align(now_ms - millis(self.context.config.replication.safety_lag), ops.width_ms);
        let reach_ms = self.windows * ops.width_ms;
        let keeps_up_from = self.upto_ms.filter(|upto_ms| closed_ms - upto_ms <= reach_ms);
        let left = match keeps_up_from {
            Some(upto_ms) => self.keep_up(ops, (upto_ms, closed_ms)).await?,
            None => self.catch_up(ops, closed_ms).await?,
        };
        let Some(upto_ms) = self.upto_ms else { return Ok(left) };
        // Before the recheck: a cold that was put back lacks corrections that hot has.
        let corrects = self.corrections.step(ops, upto_ms).await?;
        if self.corrections.is_recovering {
            return Ok(if corrects { RoundEnd::More } else { left });
        }
        // While behind, rounds follow each other at once; late rows and rechecks wait for the interval.
        if left == RoundEnd::More && self.looked_back.elapsed() < self.context.config.replication.interval {
            return Ok(left);
        }
        if keeps_up_from.is_none() {
            self.look_back(ops, upto_ms).await?;
        }
        let states = self.states(ops).await;
        self.recheck.step(ops, (self.first_ms, upto_ms), states.as_deref()).await?;
        if let Some(delay) = self.context.config.replication.remove_from_hot_after {
            ops.remove_from_hot(TimeRange::new(self.first_ms, upto_ms), delay).await?;
        }
        Ok(if corrects { RoundEnd::More } else { left })
    }

    /// Reads the state of an earlier run; returns the window length.
    async fn resume(&mut self, pair: &HotCold) -> Result<i64, CopyError> {
        let (replication, table) = (&self.context.config.replication, self.table.name);
        let configured = i64::try_from(replication.window.as_secs()).unwrap_or(60);
        let extents = self.shared.extents.since(self.fresh(), WindowLog::extents(&pair.cold)).await?;
        let extent = extents.get(table).copied();
        let seconds = extent.map_or(configured, |(_, seconds)| i64::from(seconds));
        if seconds != configured {
            tracing::warn!(
                table,
                configured,
                seconds,
                "replication.window differs from the window log; the logged length is kept"
            );
        }
        let width_ms = seconds * 1_000;
        self.upto_ms = self.reading(pair).await?.watermarks.get(table).copied();
        self.recheck.resume(self.upto_ms, replication.recheck);
        self.first_ms = match (replication.start, extent) {
            (Start::All, _) => 0,
            (Start::Recent(_), Some((first_ms, _))) => first_ms,
            (Start::Recent(time), None) => align(clock::now_ns() / 1_000_000 - millis(time), width_ms),
        };
        self.width_ms = Some(width_ms);
        Ok(width_ms)
    }

    /// Copies the windows that closed since the last round, and those that got late rows: one count tells both. Without either nothing is
    /// counted in a table at rest.
    async fn keep_up(
        &mut self,
        ops: &WindowOps<'_>,
        (upto_ms, closed_ms): (i64, i64),
    ) -> Result<RoundEnd, CopyError> {
        let began = Instant::now();
        let reach = Duration::from_millis(u64::try_from(self.windows * ops.width_ms).unwrap_or_default());
        // Few rows: they are copied together once the round is full.
        let waits = !ops.table.is_high && closed_ms - upto_ms < self.windows * ops.width_ms;
        if waits && self.looked_back.elapsed() < reach {
            return Ok(RoundEnd::Idle);
        }
        let is_idle = waits || upto_ms >= closed_ms;
        if is_idle && self.is_at_rest(ops).await {
            self.looked_back = Instant::now();
            return Ok(RoundEnd::Idle);
        }
        let back_ms =
            align(upto_ms - millis(limits::LOOK_BACK), ops.width_ms).max(self.first_ms.min(upto_ms));
        let (mut late, newest_ms) = ops.pair.hot.counts_since(ops.table, back_ms, ops.width_ms).await?;
        self.newest = Some((newest_ms, Instant::now()));
        let mut fresh = late.split_off(&upto_ms);
        fresh.retain(|start_ms, _| *start_ms < closed_ms);
        let has_rows = !late.is_empty() || !fresh.is_empty();
        let log = if has_rows {
            ops.logged(TimeRange::new(back_ms, closed_ms)).await?
        } else {
            LoggedWindows::new()
        };
        self.copy_late(ops, &late, &log).await?;
        self.looked_back = Instant::now();
        if is_idle {
            return Ok(RoundEnd::Idle);
        }
        let logged = ops.replicate_counted(TimeRange::new(upto_ms, closed_ms), fresh, &log).await?;
        self.end_copy(ops, &logged, (closed_ms, newest_ms), began).await?;
        Ok(RoundEnd::Idle)
    }

    /// Copies the next closed windows, oldest first, and advances the watermark.
    async fn catch_up(&mut self, ops: &WindowOps<'_>, closed_ms: i64) -> Result<RoundEnd, CopyError> {
        let from_ms = self.upto_ms.unwrap_or(self.first_ms);
        let began = Instant::now();
        if from_ms >= closed_ms {
            return Ok(RoundEnd::Idle);
        }
        let mut span = TimeRange::new(from_ms, closed_ms.min(from_ms + self.windows * ops.width_ms));
        let mut logged = Vec::new();
        if self.upto_ms.is_some() {
            logged = ops.replicate(span).await?;
        }
        if logged.is_empty() {
            // No rows there: continue at the next window that has rows.
            let first = ops.pair.hot.first_since(ops.table, from_ms).await?;
            if first.is_none() {
                self.newest = Some((0, Instant::now()));
            }
            let Some(first_ms) = first.filter(|first_ms| *first_ms < closed_ms) else {
                let newest_ms = if first.is_some() { self.newest(ops, closed_ms).await? } else { 0 };
                self.advance_watermark(ops, closed_ms, newest_ms).await?;
                return Ok(RoundEnd::Idle);
            };
            let start_ms = align(first_ms, ops.width_ms);
            span = TimeRange::new(start_ms, closed_ms.min(start_ms + self.windows * ops.width_ms));
            logged = ops.replicate(span).await?;
        }
        let newest_ms = self.newest(ops, span.to_ms).await?;
        self.end_copy(ops, &logged, (span.to_ms, newest_ms), began).await?;
        Ok(if span.to_ms < closed_ms { RoundEnd::More } else { RoundEnd::Idle })
    }

    async fn end_copy(
        &mut self,
        ops: &WindowOps<'_>,
        logged: &[LoggedWindow],
        (upto_ms, newest_ms): (i64, i64),
        began: Instant,
    ) -> Result<(), CopyError> {
        let table = self.table.name;
        if logged.iter().any(|window| window.state != WindowState::Verified) {
            tracing::debug!(table, "some windows of this round are not verified; see window_log");
            self.show_unsound();
        }
        self.advance_watermark(ops, upto_ms, newest_ms).await?;
        if !logged.is_empty() {
            let seconds = began.elapsed().as_secs_f64();
            self.context.metrics.round_seconds.with_label_values(&[table]).observe(seconds);
        }
        Ok(())
    }

    /// `created_at` of the newest row of hot. Far behind, this query reads everything that is still to be copied, so it runs
    /// once an interval.
    async fn newest(&mut self, ops: &WindowOps<'_>, upto_ms: i64) -> Result<i64, CopyError> {
        let interval = self.context.config.replication.interval;
        if let Some((newest_ms, asked)) = self.newest
            && newest_ms > upto_ms
            && asked.elapsed() < interval
        {
            return Ok(newest_ms);
        }
        let newest = ops.pair.hot.newest(ops.table, upto_ms - ops.width_ms).await;
        let newest_ms = newest?.unwrap_or(0);
        self.newest = Some((newest_ms, Instant::now()));
        Ok(newest_ms)
    }

    /// Finds late rows by row counts: cheap, so they do not wait for the next recheck.
    async fn look_back(&mut self, ops: &WindowOps<'_>, upto_ms: i64) -> Result<(), CopyError> {
        let back_ms = millis(limits::LOOK_BACK);
        let span = TimeRange::new(align(upto_ms - back_ms, ops.width_ms).max(self.first_ms), upto_ms);
        let counts = ops.hot_counts(span).await?;
        if !counts.is_empty() {
            self.copy_late(ops, &counts, &ops.logged(span).await?).await?;
        }
        self.looked_back = Instant::now();
        Ok(())
    }

    async fn copy_late(
        &self,
        ops: &WindowOps<'_>,
        counts: &Digests,
        log: &LoggedWindows,
    ) -> Result<(), CopyError> {
        for (&start_ms, &WindowDigest { rows, .. }) in counts {
            let has_more = log.get(&start_ms).is_none_or(|logged| match logged.state {
                WindowState::Verified => rows > logged.reference.rows,
                WindowState::Open => true,
                WindowState::Mismatch | WindowState::Failed => false,
            });
            if has_more {
                for examined in ops.examine(TimeRange::window(start_ms, ops.width_ms)).await? {
                    if !ops.reconcile(&examined).await? {
                        self.show_unsound();
                    }
                }
            }
        }
        Ok(())
    }

    /// The next recheck counts them.
    fn show_unsound(&self) {
        let gauge = self.context.metrics.unsound.with_label_values(&[self.table.name]);
        gauge.set(gauge.get().max(1));
    }

    fn show_lag(&self, has_succeeded: bool) {
        let Some((upto_ms, (now_ms, read))) = self.upto_ms.zip(self.now) else { return };
        // Without a newer row cold lacks nothing.
        let lacks_rows = !has_succeeded || self.newest.is_some_and(|(newest_ms, _)| newest_ms >= upto_ms);
        let lag_ms = if lacks_rows { (now_ms + millis(read.elapsed()) - upto_ms).max(0) } else { 0 };
        self.context.metrics.lag_minutes.with_label_values(&[self.table.name]).set(lag_ms as f64 / 60_000.0);
    }
}

/// Until the first of the two, within one interval and `QUIET_ROUNDS` of them.
fn pause(interval: Duration, until_close: Duration, until_recheck: Duration) -> Duration {
    let most = interval.saturating_mul(limits::QUIET_ROUNDS);
    (until_close + limits::CLOSE_MARGIN).min(until_recheck).min(most).max(interval)
}

fn windows_a_round(config: &Config, table: &TableSpec) -> i64 {
    let replication = &config.replication;
    i64::from(if table.is_high { replication.catch_up_high } else { replication.catch_up_low })
}
