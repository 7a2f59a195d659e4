//! Watermark of a table in cold, and the servers' time up to which it may move.

use std::time::Instant;

use super::super::queries::{CopyError, HotCold};
use super::super::shared_reading::{self, Reading};
use super::super::window::align;
use super::super::window_ops::WindowOps;
use super::TableWorker;
use crate::limits;
use crate::time::{Time, millis};

impl TableWorker<'_> {
    /// Shared answers are as of this time or later: after the last move of the watermark, and not older than `CLOCK_FRESH`.
    pub(super) fn fresh(&self) -> Instant {
        let fresh = Instant::now().checked_sub(limits::CLOCK_FRESH).unwrap_or(self.moved);
        fresh.max(self.moved)
    }

    pub(super) async fn reading(&self, pair: &HotCold) -> Result<Reading, CopyError> {
        self.shared.servers.since(self.fresh(), shared_reading::read(pair)).await
    }

    /// Time up to which rows may be copied. Read from the servers once a second and after every failure, with the watermark.
    pub(super) async fn now_ms(&mut self, ops: &WindowOps<'_>) -> Result<i64, CopyError> {
        if let Some((now_ms, read)) = self.now
            && read.elapsed() < limits::CLOCK_FRESH
            && !self.is_failing
        {
            return Ok(now_ms + millis(read.elapsed()));
        }
        let reading = self.reading(ops.pair).await?;
        reading.check_hot(ops.table.stream)?;
        let now_ms = reading.now_ms();
        self.check_watermark(ops, now_ms, reading.watermarks.get(ops.table.name).copied()).await?;
        self.now = Some((now_ms, Instant::now()));
        Ok(now_ms)
    }

    /// Copies again from an earlier time on if cold was put back to an earlier state, or if its watermark lies beyond the servers' clock:
    /// no window there can have been closed.
    async fn check_watermark(
        &mut self,
        ops: &WindowOps<'_>,
        now_ms: i64,
        found_ms: Option<i64>,
    ) -> Result<(), CopyError> {
        let (table, cold) = (ops.table.name, &ops.pair.cold);
        if self.follow_watermark(table, found_ms) {
            self.corrections.restart().await;
        }
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
            let newest_ms = self.newest(ops, back_ms).await?;
            self.advance_watermark(ops, back_ms, newest_ms).await?;
        }
        Ok(())
    }

    /// Follows the watermark of cold. True for one that went back without this central: cold was put back to an earlier state.
    fn follow_watermark(&mut self, table: &str, found_ms: Option<i64>) -> bool {
        let before_ms = std::mem::replace(&mut self.upto_ms, found_ms);
        let is_own = self.abandoned.explain(found_ms);
        if found_ms >= before_ms || is_own {
            return false;
        }
        let shown = |ms: Option<i64>| ms.map_or_else(|| "none".to_owned(), |ms| Time(ms).to_string());
        let (watermark, before) = (shown(found_ms), shown(before_ms));
        tracing::error!(
            table,
            watermark,
            before,
            "cold was put back to an earlier state; copying again from there"
        );
        self.context.metrics.put_back.with_label_values(&[table]).inc();
        self.recheck.restart(found_ms);
        true
    }

    /// Moves the watermark from where it is known to be. If a restore moved it meanwhile nothing is written, and the next reading tells.
    pub(super) async fn advance_watermark(
        &mut self,
        ops: &WindowOps<'_>,
        upto_ms: i64,
        newest_ms: i64,
    ) -> Result<(), CopyError> {
        ops.check_lease()?;
        self.moved = Instant::now();
        let way = (self.upto_ms, upto_ms);
        let moved = ops.log.move_watermark(&ops.pair.cold, way, newest_ms, "copying").await;
        moved.inspect_err(|_| self.abandoned.add(way))?;
        self.moved = Instant::now();
        tracing::trace!(table = self.table.name, upto = %Time(upto_ms), "watermark moved");
        self.upto_ms = Some(upto_ms);
        Ok(())
    }
}
