use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::try_join;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::copy::{Copier, CopyPiece, Direction};
use super::evaluate::RowDiff;
use super::queries::{CopyError, HotCold, TableSpec};
use super::window::{Digests, TimeRange, WindowDigest};
use super::window_log::{LoggedWindow, LoggedWindows, WindowLog, WindowState};
use crate::config::Config;
use crate::copy_marks;
use crate::lease::Lease;
use crate::metrics::ReplicationMetrics;
use crate::status::{COPYING, Status};
use crate::time::Time;
use crate::{clock, limits};

/// Shared by the work on all tables.
#[derive(Clone, Copy)]
pub struct CopyContext<'a> {
    pub config: &'a Config,
    /// Permits writes; without it the work is read-only.
    pub lease: Option<&'a Lease>,
    pub metrics: &'a ReplicationMetrics,
    /// Of a central that runs.
    pub status: Option<&'a Status>,
    /// Name of this process, for the log.
    pub holder: &'a str,
}

impl CopyContext<'_> {
    pub fn is_wanted(&self) -> bool {
        self.lease.is_some_and(Lease::is_wanted)
    }

    /// Shows in metrics and `/health` that copying a table works, or why not.
    pub fn show_failing(&self, table: &str, problem: Option<String>) {
        self.metrics.is_failing.with_label_values(&[table]).set(i64::from(problem.is_some()));
        if let Some(status) = self.status {
            status.set(&format!("{COPYING}{table}"), problem);
        }
    }

    pub fn check_lease(&self) -> Result<(), CopyError> {
        match self.lease {
            Some(lease) if lease.valid_for() >= lease.times().write_margin() => Ok(()),
            _ => Err(CopyError::LeaseLost),
        }
    }

    /// Sleeps; returns early at the stop, or when another central wants the lease.
    pub async fn rest(&self, pause: Duration, stop: &CancellationToken) {
        let until = Instant::now() + pause;
        while !self.is_wanted() {
            let left = until.saturating_duration_since(Instant::now()).min(self.config.lease.poll());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(left) => {}
            }
        }
    }
}

pub struct WindowOps<'a> {
    pub context: CopyContext<'a>,
    pub table: &'a TableSpec,
    pub log: WindowLog,
    pub pair: &'a HotCold,
    pub width_ms: i64,
    /// Limit of rows per insert.
    pub slice_rows: u64,
}

impl WindowOps<'_> {
    /// Copies the rows that cold lacks of a range: one window, or neighbouring ones that cold holds nothing of.
    pub async fn copy_span(
        &self,
        span: TimeRange,
        hot: &WindowDigest,
        cold: &WindowDigest,
        salt: i64,
    ) -> Result<(), CopyError> {
        if cold.has_same_ids(hot) {
            return Ok(());
        }
        let copier = Copier::new(self.pair, self.table, self.context.config, Direction::ToCold);
        for piece in self.pieces(span, hot, cold, salt) {
            self.check_lease()?;
            let timer = Instant::now();
            copier.copy(&piece).await?;
            self.context
                .metrics
                .copy_seconds
                .with_label_values(&[self.table.name])
                .observe(timer.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// The inserts for a window or several. Their number is a power of two, so that it seldom changes when rows arrive late:
    /// the token deduplicates a repetition only if it is cut the same way.
    pub fn pieces(
        &self,
        window: TimeRange,
        source: &WindowDigest,
        target: &WindowDigest,
        salt: i64,
    ) -> Vec<CopyPiece> {
        let count = source.rows.div_ceil(self.slice_rows.max(1)).max(1).next_power_of_two();
        let spans = window.pieces(i64::try_from(count).unwrap_or(i64::MAX));
        let of = spans.len();
        let piece = |(index, span): (usize, TimeRange)| CopyPiece {
            span,
            window,
            is_begun: target.rows > 0,
            token: format!(
                "{}.{}:{}-{}:{index}/{of}:{}:{salt}",
                self.pair.cold.storage.database,
                self.table.name,
                window.from_ms,
                window.to_ms,
                target.token()
            ),
        };
        spans.into_iter().enumerate().map(piece).collect()
    }

    /// Digests of one window now, distinct ids of cold counted.
    pub async fn both_digests(&self, start_ms: i64) -> Result<(WindowDigest, WindowDigest), CopyError> {
        let span = TimeRange::window(start_ms, self.width_ms);
        let (mut hot, mut cold) = try_join(self.hot_digests(span), self.cold_digests(span, true)).await?;
        Ok((hot.remove(&start_ms).unwrap_or_default(), cold.remove(&start_ms).unwrap_or_default()))
    }

    /// Row-by-row difference of a window; `None` if it has too many rows.
    pub async fn diff(
        &self,
        start_ms: i64,
        hot: &WindowDigest,
        cold: &WindowDigest,
    ) -> Result<Option<RowDiff>, CopyError> {
        if hot.rows.max(cold.rows) > limits::DIFF_ROWS {
            return Ok(None);
        }
        let span = TimeRange::window(start_ms, self.width_ms);
        let hot = self.pair.hot.rows(self.table, span).await?;
        let cold = self.pair.cold.rows(self.table, span).await?;
        Ok(Some(RowDiff::between(&hot, &cold)))
    }

    pub async fn hot_counts(&self, span: TimeRange) -> Result<Digests, CopyError> {
        self.pair.hot.counts(self.table, span, self.width_ms).await
    }

    pub async fn hot_digests(&self, span: TimeRange) -> Result<Digests, CopyError> {
        self.pair.hot.digests(self.table, span, self.width_ms, false).await
    }

    pub async fn cold_digests(&self, span: TimeRange, distinct: bool) -> Result<Digests, CopyError> {
        self.pair.cold.digests(self.table, span, self.width_ms, distinct).await
    }

    pub async fn logged(&self, span: TimeRange) -> Result<LoggedWindows, CopyError> {
        self.log.read(&self.pair.cold, span).await
    }

    /// Hot must still hold all rows of a window: neither its TTL nor a removal can have taken any.
    pub fn is_hot_whole(&self, start_ms: i64, logged: Option<&LoggedWindow>, hot: &WindowDigest) -> bool {
        let is_removed = logged.is_some_and(LoggedWindow::is_removed);
        let oldest = [logged.map(|logged| logged.reference), Some(*hot)].into_iter().flatten();
        let oldest_us = oldest.filter(|state| state.rows > 0).map(|state| state.oldest_us).min();
        let before_us = expired_before_us(self.context.config.hot_ttl())
            .max(self.pair.dropped.gone_before_us_in(start_ms));
        !is_removed && oldest_us.is_none_or(|oldest| oldest >= before_us)
    }

    /// Cold must still hold all rows of a window. Of one without rows it has nothing to drop.
    pub fn is_cold_whole(&self, logged: Option<&LoggedWindow>) -> bool {
        let kept = limits::DAY.saturating_mul(self.context.config.clickhouse.cold_ttl_days);
        let is_kept = |rows: &WindowDigest| rows.rows == 0 || rows.oldest_us >= expired_before_us(kept);
        logged.is_none_or(|logged| is_kept(&logged.reference))
    }

    /// Fails if another central may write now or before a short step ends.
    pub fn check_lease(&self) -> Result<(), CopyError> {
        self.context.check_lease()
    }

    /// Fails while hot lacks rows that cold may have.
    async fn check_hot(&self) -> Result<(), CopyError> {
        let (stream, HotCold { hot, cold, .. }) = (self.table.stream, self.pair);
        let of_cold = copy_marks::of_cold(&cold.storage, cold.limit).await.map_err(|e| cold.failed(e))?;
        let of_hot = copy_marks::of_hot(&hot.storage, hot.limit).await.map_err(|e| hot.failed(e))?;
        let found = copy_marks::put_back(stream, of_hot.get(stream).copied(), &of_cold);
        found.map_or(Ok(()), |found| Err(found.into()))
    }

    /// Log entry of a verified window.
    pub fn verified(
        &self,
        start_ms: i64,
        state: &WindowDigest,
        earlier: Option<&LoggedWindow>,
        tries: u32,
    ) -> LoggedWindow {
        self.entry(start_ms, WindowState::Verified, String::new(), (*state, state.rows), earlier, tries)
    }

    /// Log entry of an unsound window. The reference of an earlier verification is kept.
    pub fn unsound(
        &self,
        start_ms: i64,
        state: WindowState,
        reason: String,
        hot: &WindowDigest,
        cold: &WindowDigest,
        earlier: Option<&LoggedWindow>,
    ) -> LoggedWindow {
        let reference = earlier.map_or(*hot, |logged| logged.reference);
        let mut entry = self.entry(start_ms, state, reason, (reference, cold.rows), earlier, 1);
        entry.columns_hash = earlier.map_or(entry.columns_hash, |logged| logged.columns_hash);
        entry
    }

    fn entry(
        &self,
        start_ms: i64,
        state: WindowState,
        reason: String,
        (reference, cold_rows): (WindowDigest, u64),
        earlier: Option<&LoggedWindow>,
        tries: u32,
    ) -> LoggedWindow {
        LoggedWindow {
            start_ms,
            seconds: u16::try_from(self.width_ms / 1_000).unwrap_or(u16::MAX),
            state,
            reason: earlier.map_or(reason.clone(), |logged| logged.reason_after(&reason)),
            reference,
            cold_rows,
            columns_hash: self.table.columns_hash,
            attempts: earlier.map_or(0, |logged| logged.attempts).saturating_add(tries),
            logged_ms: earlier.map_or(0, |logged| logged.logged_ms),
        }
    }

    /// Writes log entries and reports unsound windows. A hot that was put back between copy and comparison differs from cold, until its rows are back.
    pub async fn write(&self, logged: &[LoggedWindow]) -> Result<(), CopyError> {
        if logged.iter().any(|window| window.state == WindowState::Mismatch) {
            self.check_hot().await?;
        }
        let method = self.context.config.replication.method.as_str();
        self.log.write(&self.pair.cold, logged, method, self.context.holder).await?;
        for window in logged {
            let (table, start) = (self.table.name, Time(window.start_ms).to_string());
            self.context.metrics.windows.with_label_values(&[table, window.state.as_str()]).inc();
            match window.state {
                WindowState::Verified => {
                    tracing::debug!(table, window = start, rows = window.cold_rows, "window verified");
                }
                WindowState::Open => {
                    tracing::info!(table, window = start, reason = window.reason, "window reopened")
                }
                WindowState::Mismatch | WindowState::Failed => {
                    tracing::error!(
                        table,
                        window = start,
                        reason = window.reason,
                        "hot and cold differ; run `repair`"
                    );
                }
            }
        }
        Ok(())
    }
}

pub fn is_verified(hot: &WindowDigest, cold: &WindowDigest) -> bool {
    hot.is_same(cold) && cold.distinct == cold.rows
}

pub fn all_starts<A, B, C>(
    a: &BTreeMap<i64, A>,
    b: &BTreeMap<i64, B>,
    c: &BTreeMap<i64, C>,
) -> BTreeSet<i64> {
    a.keys().chain(b.keys()).chain(c.keys()).copied().collect()
}

/// Rows with an earlier venue time may be gone, given the retention, or will be soon.
pub fn expired_before_us(kept: Duration) -> i64 {
    let us = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    (clock::now_ns() / 1_000).saturating_sub(us(kept)).saturating_add(us(limits::TTL_MARGIN))
}
