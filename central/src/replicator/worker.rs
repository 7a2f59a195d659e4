//! Replication of the tables, round by round, while this central holds the lease.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{join, join_all};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::copy::clear_leftovers;
use super::instruments::copy_instruments;
use super::queries::{CopyError, HotCold, TableSpec};
use super::reconcile::TableRecheck;
use super::window::{TimeRange, WindowDigest, align};
use super::window_log::{WindowLog, WindowState};
use super::window_ops::{CopyContext, WindowOps};
use crate::config::{Config, Start};
use crate::context::CentralContext;
use crate::time::{Time, millis};
use crate::{clock, limits};

pub struct TableWorker<'a> {
    context: CopyContext<'a>,
    table: TableSpec,
    /// Reopened after every failure.
    pair: Option<HotCold>,
    /// As in the window log: a later change of the configuration does not apply.
    width_ms: Option<i64>,
    /// First window to recheck.
    first_ms: i64,
    /// Everything before it was copied.
    upto_ms: Option<i64>,
    recheck: TableRecheck,
    /// Time of the servers, and when it was read.
    now: Option<(i64, Instant)>,
    /// Time of the last scan for late rows.
    looked_back: Instant,
    /// `created_at` of the newest row of hot, and when it was queried.
    newest: Option<(i64, Instant)>,
    slice_rows: u64,
    windows: i64,
    is_failing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoundEnd {
    Idle,
    More,
}

impl<'a> TableWorker<'a> {
    pub fn new(context: CopyContext<'a>, table: TableSpec) -> Self {
        let windows = windows_a_round(context.config, &table);
        let slice_rows = table.slice_rows;
        Self {
            context,
            table,
            pair: None,
            width_ms: None,
            first_ms: 0,
            upto_ms: None,
            recheck: TableRecheck::new(),
            now: None,
            looked_back: Instant::now(),
            newest: None,
            slice_rows,
            windows,
            is_failing: false,
        }
    }

    /// Works until `stop`, or until another central wants the lease.
    pub async fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() && !self.context.is_wanted() {
            if self.round_with_retries(stop).await == RoundEnd::Idle {
                self.context.rest(self.context.config.replication.interval, stop).await;
            }
        }
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
                    self.context.metrics.is_failing.with_label_values(&[table]).set(0);
                    return left;
                }
                Err(CopyError::LeaseLost) => return RoundEnd::Idle,
                Err(error) => error,
            };
            // Reconnect, and copy less at once where a server was too slow.
            self.pair = None;
            if error.is_timeout() {
                self.windows = 1;
                self.slice_rows = (self.slice_rows / 2).max(limits::SLICE_ROWS_MIN);
            }
            self.context.metrics.is_failing.with_label_values(&[table]).set(1);
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
            Some(pair) => pair,
            None => self.connect().await?,
        };
        let table = self.table.clone();
        let log = WindowLog { table: table.name };
        let width_ms = match self.width_ms {
            Some(width_ms) => width_ms,
            None => self.resume(&pair, log).await?,
        };
        let (context, slice_rows) = (self.context, self.slice_rows);
        let ops = WindowOps { context, table: &table, log, pair: &pair, width_ms, slice_rows };
        let left = self.steps(&ops).await?;
        self.windows = windows_a_round(context.config, &table);
        self.pair = Some(pair);
        Ok(left)
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
        let left = self.advance(ops, now_ms).await?;
        let Some(upto_ms) = self.upto_ms else { return Ok(left) };
        // While behind, rounds follow each other at once; late rows and rechecks wait for the interval.
        if left == RoundEnd::More && self.looked_back.elapsed() < self.context.config.replication.interval {
            return Ok(left);
        }
        self.look_back(ops, upto_ms).await?;
        self.recheck.step(ops, self.first_ms, upto_ms).await?;
        if let Some(delay) = self.context.config.replication.remove_from_hot_after {
            ops.remove_from_hot(TimeRange::new(self.first_ms, upto_ms), delay).await?;
        }
        self.looked_back = Instant::now();
        Ok(left)
    }

    /// Reads the state of an earlier run; returns the window length.
    async fn resume(&mut self, pair: &HotCold, log: WindowLog) -> Result<i64, CopyError> {
        let replication = &self.context.config.replication;
        let configured = i64::try_from(replication.window.as_secs()).unwrap_or(60);
        let extent = log.extent(&pair.cold).await?;
        let seconds = extent.map_or(configured, |(_, seconds)| i64::from(seconds));
        if seconds != configured {
            let table = self.table.name;
            tracing::warn!(
                table,
                configured,
                seconds,
                "replication.window differs from the window log; the logged length is kept"
            );
        }
        let width_ms = seconds * 1_000;
        self.upto_ms = log.watermark(&pair.cold).await?;
        self.recheck.resume(self.upto_ms, replication.recheck);
        self.first_ms = match (replication.start, extent) {
            (Start::All, _) => 0,
            (Start::Recent(_), Some((first_ms, _))) => first_ms,
            (Start::Recent(time), None) => align(clock::now_ns() / 1_000_000 - millis(time), width_ms),
        };
        self.width_ms = Some(width_ms);
        Ok(width_ms)
    }

    /// Time up to which rows may be copied. Read from the servers once a second and after every failure, with the watermark.
    async fn now_ms(&mut self, ops: &WindowOps<'_>) -> Result<i64, CopyError> {
        if let Some((now_ms, read)) = self.now
            && read.elapsed() < limits::CLOCK_FRESH
            && !self.is_failing
        {
            return Ok(now_ms + millis(read.elapsed()));
        }
        let read = Instant::now();
        let now_ms = ops.pair.now_ms().await?;
        self.check_watermark(ops, now_ms).await?;
        self.now = Some((now_ms, read));
        Ok(now_ms)
    }

    /// Copies again from an earlier time on if cold was put back to an earlier state, or if its watermark lies beyond the servers' clock:
    /// no window there can have been closed.
    async fn check_watermark(&mut self, ops: &WindowOps<'_>, now_ms: i64) -> Result<(), CopyError> {
        let (table, cold) = (ops.table.name, &ops.pair.cold);
        self.follow_watermark(ops).await?;
        if let Some(upto_ms) =
            self.upto_ms.filter(|upto_ms| *upto_ms > align(now_ms, ops.width_ms) + ops.width_ms)
        {
            let back_ms = ops.log.last_end_before(cold, align(now_ms, ops.width_ms)).await?;
            let (watermark, back) = (Time(upto_ms).to_string(), Time(back_ms).to_string());
            tracing::error!(
                table,
                watermark,
                back,
                "the watermark of cold was beyond the clock of the servers; it goes back"
            );
            self.advance_watermark(ops, back_ms).await?;
        }
        Ok(())
    }

    /// Follows the watermark of cold. One that went back without this central: cold was put back to an earlier state.
    async fn follow_watermark(&mut self, ops: &WindowOps<'_>) -> Result<(), CopyError> {
        let found_ms = ops.log.watermark(&ops.pair.cold).await?;
        let before_ms = std::mem::replace(&mut self.upto_ms, found_ms);
        if found_ms >= before_ms {
            return Ok(());
        }
        let shown = |ms: Option<i64>| ms.map_or_else(|| "none".to_owned(), |ms| Time(ms).to_string());
        let (table, watermark, before) = (ops.table.name, shown(found_ms), shown(before_ms));
        tracing::error!(
            table,
            watermark,
            before,
            "cold was put back to an earlier state; copying again from there"
        );
        self.context.metrics.put_back.with_label_values(&[table]).inc();
        self.recheck.restart(found_ms);
        Ok(())
    }

    /// Copies the next closed windows, oldest first, and advances the watermark.
    async fn advance(&mut self, ops: &WindowOps<'_>, now_ms: i64) -> Result<RoundEnd, CopyError> {
        let lag_ms = millis(self.context.config.replication.safety_lag);
        let closed_ms = align(now_ms - lag_ms, ops.width_ms);
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
            let first = ops.pair.hot.first(ops.table, TimeRange::new(from_ms, closed_ms)).await;
            let Some(first_ms) = first? else {
                self.advance_watermark(ops, closed_ms).await?;
                return Ok(RoundEnd::Idle);
            };
            let start_ms = align(first_ms, ops.width_ms);
            span = TimeRange::new(start_ms, closed_ms.min(start_ms + self.windows * ops.width_ms));
            logged = ops.replicate(span).await?;
        }
        if logged.iter().any(|window| window.state != WindowState::Verified) {
            tracing::debug!(
                table = self.table.name,
                "some windows of this round are not verified; see window_log"
            );
        }
        self.advance_watermark(ops, span.to_ms).await?;
        let seconds = began.elapsed().as_secs_f64();
        self.context.metrics.round_seconds.with_label_values(&[self.table.name]).observe(seconds);
        Ok(if span.to_ms < closed_ms { RoundEnd::More } else { RoundEnd::Idle })
    }

    /// Moves the watermark from where it is known to be; a restore between two looks at it must not be covered up.
    async fn advance_watermark(&mut self, ops: &WindowOps<'_>, upto_ms: i64) -> Result<(), CopyError> {
        let newest_ms = self.newest(ops, upto_ms).await?;
        ops.check_lease()?;
        let (log, cold) = (ops.log, &ops.pair.cold);
        log.move_watermark(cold, (self.upto_ms, upto_ms), newest_ms, "copying").await?;
        if log.watermark(cold).await? != Some(upto_ms) {
            return self.follow_watermark(ops).await;
        }
        tracing::trace!(table = self.table.name, upto = %Time(upto_ms), "watermark moved");
        self.upto_ms = Some(upto_ms);
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
    async fn look_back(&self, ops: &WindowOps<'_>, upto_ms: i64) -> Result<(), CopyError> {
        let back_ms = millis(limits::LOOK_BACK);
        let span = TimeRange::new(align(upto_ms - back_ms, ops.width_ms).max(self.first_ms), upto_ms);
        let counts = ops.hot_counts(span).await?;
        if counts.is_empty() {
            return Ok(());
        }
        let log = ops.logged(span).await?;
        for (start_ms, WindowDigest { rows, .. }) in counts {
            let has_more = log.get(&start_ms).is_none_or(|logged| match logged.state {
                WindowState::Verified => rows > logged.reference.rows,
                WindowState::Open => true,
                WindowState::Mismatch | WindowState::Failed => false,
            });
            if has_more {
                for examined in ops.examine(TimeRange::window(start_ms, ops.width_ms)).await? {
                    ops.reconcile(&examined).await?;
                }
            }
        }
        Ok(())
    }

    fn show_lag(&self, has_succeeded: bool) {
        let Some((upto_ms, (now_ms, read))) = self.upto_ms.zip(self.now) else { return };
        // Without a newer row cold lacks nothing.
        let lacks_rows = !has_succeeded || self.newest.is_some_and(|(newest_ms, _)| newest_ms >= upto_ms);
        let lag_ms = if lacks_rows { (now_ms + millis(read.elapsed()) - upto_ms).max(0) } else { 0 };
        self.context.metrics.lag_minutes.with_label_values(&[self.table.name]).set(lag_ms as f64 / 60_000.0);
    }
}

fn windows_a_round(config: &Config, table: &TableSpec) -> i64 {
    let replication = &config.replication;
    i64::from(if table.is_high { replication.catch_up_high } else { replication.catch_up_low })
}

pub const LEASE: &str = "replicator";

/// Copies hot to cold while this central holds the lease, until `stop`.
pub async fn replicate(shared: Arc<CentralContext>, stop: CancellationToken) -> anyhow::Result<()> {
    while let Some(lease) = shared.leases.acquire(LEASE, &stop).await {
        let metrics = &shared.metrics.replication;
        metrics.is_active.set(1);
        tracing::info!("this central replicates hot to cold");
        let context = CopyContext {
            config: &shared.config,
            lease: Some(&lease),
            metrics,
            holder: shared.leases.own_name(),
        };
        tokio::select! {
            () = lease.lost().cancelled() => {}
            () = all_tables(context, &stop) => {}
            // An aborted insert is stored as a whole or not at all.
            () = async { stop.cancelled().await; sleep(limits::FLUSH_DEADLINE).await } => {}
        }
        metrics.released();
        tracing::info!("this central no longer replicates hot to cold");
        lease.release().await;
    }
    Ok(())
}

async fn all_tables(context: CopyContext<'_>, stop: &CancellationToken) {
    let mut backoff = limits::BACKOFF;
    while !stop.is_cancelled() && !context.is_wanted() {
        let cleared = match HotCold::connect(context.config).await {
            Ok(pair) => clear_leftovers(&pair, None).await,
            Err(error) => Err(error),
        };
        match cleared {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(%error, "cannot clear leftovers of the previous lease holder yet; retrying");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(backoff.pause()) => {}
        }
    }
    let workers = TableSpec::all().into_iter().map(|table| TableWorker::new(context, table).run(stop));
    join(join_all(workers), copy_instruments(context, stop)).await;
}
