//! Corrections: rows that another version of an adapter made of kept raw frames win over those that are stored, in hot and in cold.
//!
//! A correction begins once it is closed, all its events have arrived, and the rows that it names are copied. Page by page: the windows of
//! the rows are compared and logged as open, new rows are inserted on both sides, with the identity of the old ones and a higher version, and
//! read again; then the old ones are deleted, and the windows are compared and logged with the correction's name.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use marketprism_schema::{DataType, Table, WireForm, stream_of};
use tokio::sync::Mutex;

use super::correction_plan::{
    CorrectionCounts, PagePlan, PlanRules, StagedEvent, StoredEvent, version_after,
};
use super::correction_queries::{PageCursor, PageRows, PendingCorrection, PendingCorrections, pending};
use super::evaluate::WindowCondition;
use super::queries::{CopyError, HotCold};
use super::window::TimeRange;
use super::window_log::{LoggedWindow, WindowState};
use super::window_ops::{WindowOps, expired_before_us, is_verified};
use crate::row::{CORRECTION_SOURCE, TableRows, columns_of, encode_event_from};
use crate::storage::StorageError;
use crate::{clock, limits};

/// Pending corrections of all tables, read once for the rounds of all.
#[derive(Debug, Default)]
pub struct SharedCorrections(Mutex<Option<(Instant, PendingCorrections)>>);

impl SharedCorrections {
    async fn of(&self, pair: &HotCold, data_type: DataType) -> Result<PendingCorrections, CopyError> {
        let mut newest = self.0.lock().await;
        let is_fresh = newest.as_ref().is_some_and(|(read, _)| read.elapsed() < limits::CORRECTIONS_LOOK);
        if !is_fresh {
            *newest = Some((Instant::now(), pending(pair).await?));
        }
        let all = newest.iter().flat_map(|(_, all)| all);
        Ok(all.filter(|(one, _)| one.data_type == data_type.as_str()).cloned().collect())
    }

    async fn end(&self, applied: &PendingCorrection) {
        if let Some((_, all)) = &mut *self.0.lock().await {
            all.retain(|(one, _)| one != applied);
        }
    }
}

struct RunningCorrection {
    pending: PendingCorrection,
    cursor: PageCursor,
    counts: CorrectionCounts,
}

/// Corrections of one table.
pub struct TableCorrections<'a> {
    shared: &'a SharedCorrections,
    data_type: DataType,
    running: Option<RunningCorrection>,
    /// The last one that failed, and when.
    failed: Option<(u128, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageEnd {
    More,
    /// A row of the page is not copied yet.
    Waits,
    Last,
}

impl<'a> TableCorrections<'a> {
    pub fn new(shared: &'a SharedCorrections, table: &str) -> Self {
        let of_name = |one: &Table| one.name == table;
        let data_type = Table::ALL.into_iter().find(of_name).map_or(DataType::Trade, |table| table.data_type);
        Self { shared, data_type, running: None, failed: None }
    }

    /// Cold was put back to an earlier state: what was carried out there may be lost.
    pub async fn restart(&mut self) {
        self.running = None;
        *self.shared.0.lock().await = None;
    }

    /// Carries out pages for a bounded time. True: there are more. A correction that fails waits, and stops nothing else.
    pub async fn step(&mut self, ops: &WindowOps<'_>, upto_ms: i64) -> Result<bool, CopyError> {
        let began = Instant::now();
        while began.elapsed() < limits::CORRECTION_TURN {
            if self.running.is_none() {
                self.running = self.next(ops).await?;
            }
            let Some(mut running) = self.running.take() else { return Ok(false) };
            match self.page(ops, &mut running, upto_ms).await {
                Ok(PageEnd::More) => self.running = Some(running),
                Ok(PageEnd::Waits) => {
                    self.running = Some(running);
                    return Ok(false);
                }
                Ok(PageEnd::Last) => {}
                Err(CopyError::LeaseLost) => return Err(CopyError::LeaseLost),
                Err(error) => {
                    let (table, name) = (ops.table.name, running.pending.name());
                    tracing::warn!(table, correction = %name, %error, "correction failed; it is tried again later");
                    self.failed = Some((running.pending.correction, Instant::now()));
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn page(
        &self,
        ops: &WindowOps<'_>,
        running: &mut RunningCorrection,
        upto_ms: i64,
    ) -> Result<PageEnd, CopyError> {
        let (pending, mut cursor) = (&running.pending, running.cursor.clone());
        let (page, place) = ops.pair.hot.staged(pending, &mut cursor).await?;
        let Some(place) = place else {
            self.end(ops, pending, running.counts).await?;
            return Ok(PageEnd::Last);
        };
        let done = ops.correct_page(self.data_type, pending, (&page, &place), upto_ms).await?;
        let Some(counts) = done else { return Ok(PageEnd::Waits) };
        running.counts.add(counts);
        running.cursor = cursor;
        Ok(PageEnd::More)
    }

    /// Windows may be open of which no row is left: those that were withdrawn before an interruption.
    async fn end(
        &self,
        ops: &WindowOps<'_>,
        pending: &PendingCorrection,
        counts: CorrectionCounts,
    ) -> Result<(), CopyError> {
        let name = pending.name().to_string();
        let left = ops.log.being_corrected(&ops.pair.cold, &name).await?;
        ops.close_windows(pending, &left.into_keys().collect()).await?;
        ops.check_lease()?;
        ops.pair.cold.log_applied(pending, counts, ops.context.holder).await?;
        tracing::info!(table = ops.table.name, correction = name, ?counts, "correction carried out");
        self.shared.end(pending).await;
        Ok(())
    }

    /// The first whose events have all arrived. One that a later one has overtaken ends without an effect.
    async fn next(&self, ops: &WindowOps<'_>) -> Result<Option<RunningCorrection>, CopyError> {
        let all = self.shared.of(ops.pair, self.data_type).await?;
        let shown = ops.context.metrics.corrections_pending.with_label_values(&[ops.table.name]);
        shown.set(i64::try_from(all.len()).unwrap_or(i64::MAX));
        for (pending, is_overtaken) in all {
            let has_failed = |(id, at): (u128, Instant)| {
                id == pending.correction && at.elapsed() < limits::CORRECTION_RETRY
            };
            if is_overtaken {
                let counts = CorrectionCounts { absent: pending.events, ..CorrectionCounts::default() };
                self.end(ops, &pending, counts).await?;
            } else if !self.failed.is_some_and(has_failed)
                && ops.pair.hot.staged_count(&pending).await? == pending.events
            {
                let (cursor, counts) = Default::default();
                return Ok(Some(RunningCorrection { pending, cursor, counts }));
            }
        }
        Ok(None)
    }
}

impl WindowOps<'_> {
    /// Carries out one page, from wherever an earlier try was broken off. `None`: a row of it is not copied yet.
    async fn correct_page(
        &self,
        data_type: DataType,
        pending: &PendingCorrection,
        (page, place): (&[StagedEvent], &PageRows),
        upto_ms: i64,
    ) -> Result<Option<CorrectionCounts>, CopyError> {
        let rules = PlanRules { adapter: &pending.new_adapter, upto_ms, width_ms: self.width_ms };
        for round in 0..limits::INSERT_ROUNDS {
            let hot = self.pair.hot.stored_events(self.table, pending, page, place).await?;
            let cold = self.pair.cold.stored_events(self.table, pending, page, place).await?;
            let mut plan = PagePlan::new(page, &hot, &cold, &rules);
            if plan.waits {
                return Ok(None);
            }
            self.leave_out_expired(page, &mut plan);
            if plan.inserts() {
                self.open_windows(pending, &plan).await?;
                self.insert_new_rows(data_type, pending, page, &plan, round).await?;
                continue;
            }
            if plan.deletes() {
                self.open_windows(pending, &plan).await?;
                self.delete_old_rows(data_type, pending, &plan, place).await?;
            }
            self.close_windows(pending, &plan.windows).await?;
            let mut counts = plan.counts;
            let before = self.pair.hot.withdrawn_before(pending, &plan.gone).await?;
            counts.withdrawn += before;
            counts.absent += u64::try_from(plan.gone.len()).unwrap_or(u64::MAX).saturating_sub(before);
            for (what, count) in counts.named() {
                let corrected = &self.context.metrics.corrected;
                corrected.with_label_values(&[self.table.name, what]).inc_by(count);
            }
            return Ok(Some(counts));
        }
        let text = format!("rows of correction {} are accepted and not in the table", pending.name());
        Err(self.pair.hot.failed(StorageError::Unreachable(text)))
    }

    /// Hot would delete these rows before they are copied.
    fn leave_out_expired(&self, page: &[StagedEvent], plan: &mut PagePlan) {
        let days = u64::from(self.context.config.clickhouse.hot_ttl_days);
        let oldest_us = expired_before_us(Duration::from_secs(days * 86_400));
        let before = plan.add.len();
        plan.add.retain(|position| {
            let payload = page.get(*position).map(|event| event.payload.as_bytes()).unwrap_or_default();
            let event = WireForm::Json.decode(payload);
            event.is_ok_and(|event| event.header.timestamp_us >= oldest_us)
        });
        let left_out = u64::try_from(before - plan.add.len()).unwrap_or_default();
        plan.counts.added -= left_out;
        plan.counts.absent += left_out;
    }

    async fn insert_new_rows(
        &self,
        data_type: DataType,
        pending: &PendingCorrection,
        page: &[StagedEvent],
        plan: &PagePlan,
        round: u32,
    ) -> Result<(), CopyError> {
        let now_ms = clock::now_ms();
        let empty = || TableRows::new(columns_of(data_type));
        let mut added = empty();
        for event in plan.add.iter().filter_map(|position| page.get(*position)) {
            self.encode(event, None, now_ms, &mut added)?;
        }
        let token = |what: &str, rows: &[u8]| {
            let hash = xxhash_rust::xxh3::xxh3_64(rows);
            format!("correction:{}:{}:{what}:{hash:016x}:{round}", pending.name(), self.table.name)
        };
        // First to cold: a hot that is put back to an earlier state gets its rows from there.
        for (side, replace) in [(&self.pair.cold, &plan.cold.replace), (&self.pair.hot, &plan.hot.replace)] {
            let mut rows = empty();
            for (position, stored) in replace {
                if let Some(event) = page.get(*position) {
                    let created_ms = version_after(stored.created_ms, self.width_ms);
                    self.encode(event, Some(stored), created_ms, &mut rows)?;
                }
            }
            if !rows.is_empty() {
                self.check_lease()?;
                let block = side.block(&rows)?;
                let token = token("replace", &block);
                side.insert_block(self.table.name, block, &token).await?;
            }
        }
        if !added.is_empty() {
            self.check_lease()?;
            // The clock of each try differs.
            let ids: Vec<u8> = plan
                .add
                .iter()
                .filter_map(|position| page.get(*position))
                .flat_map(|one| one.event_id.0.to_le_bytes())
                .collect();
            let block = self.pair.hot.block(&added)?;
            self.pair.hot.insert_block(self.table.name, block, &token("add", &ids)).await?;
        }
        Ok(())
    }

    /// The row of an event: with the identity of the row that it replaces, or as one that no edge published.
    fn encode(
        &self,
        staged: &StagedEvent,
        stored: Option<&StoredEvent>,
        created_ms: i64,
        rows: &mut TableRows,
    ) -> Result<(), CopyError> {
        let wrong = |text: String| self.pair.hot.failed(StorageError::Unreachable(text));
        let name = staged.event_id;
        let mut event = WireForm::Json
            .decode(staged.payload.as_bytes())
            .map_err(|error| wrong(format!("corrected event {name}: {error}")))?;
        let (mut source, mut stream_seq) = (CORRECTION_SOURCE, staged.stream_seq);
        if let Some(stored) = stored {
            event.header.received_at_ns = stored.received_at_ns;
            event.header.edge = stored.edge.as_str().into();
            event.header.region = stored.region.as_str().into();
            (source, stream_seq) = (&stored.data_source, stored.stream_seq);
        }
        let first = rows.len();
        encode_event_from(&event, source, stream_seq, rows)
            .map_err(|error| wrong(format!("corrected event {name}: {error}")))?;
        rows.set_created_at(first, created_ms);
        Ok(())
    }

    async fn delete_old_rows(
        &self,
        data_type: DataType,
        pending: &PendingCorrection,
        plan: &PagePlan,
        place: &PageRows,
    ) -> Result<(), CopyError> {
        let (hot, cold) = (&self.pair.hot, &self.pair.cold);
        self.check_lease()?;
        if !plan.marked.is_empty() {
            hot.insert_marks(pending, stream_of(data_type), &plan.marked, clock::now_ms()).await?;
        }
        self.check_lease()?;
        cold.delete_other_versions(self.table, pending, &plan.cold.remove, place).await?;
        self.check_lease()?;
        hot.delete_other_versions(self.table, pending, &plan.hot.remove, place).await
    }

    /// Compares the windows first, so that a correction hides no earlier difference, then logs them as open.
    async fn open_windows(&self, pending: &PendingCorrection, plan: &PagePlan) -> Result<(), CopyError> {
        let name = pending.name();
        for span in self.runs(&plan.windows) {
            for examined in self.examine(span).await? {
                let is_put_back = plan.behind_in_cold.contains(&examined.start_ms)
                    && examined.condition == WindowCondition::CompareRows;
                if !is_put_back {
                    self.reconcile(&examined).await?;
                }
            }
            let logged = self.logged(span).await?;
            let open = logged.into_values().filter(|window| {
                plan.windows.contains(&window.start_ms) && window.state == WindowState::Verified
            });
            let open = open.map(|window| LoggedWindow {
                state: WindowState::Open,
                reason: window.reason_after(&LoggedWindow::correcting(&name.to_string())),
                ..window
            });
            self.check_lease()?;
            self.write(&open.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Compares the windows and logs them with the name of the correction. A difference from before stays one.
    async fn close_windows(
        &self,
        pending: &PendingCorrection,
        windows: &BTreeSet<i64>,
    ) -> Result<(), CopyError> {
        let reason = format!("changed by correction {}", pending.name());
        for span in self.runs(windows) {
            let logged = self.logged(span).await?;
            let hot = self.hot_digests(span).await?;
            let cold = self.cold_digests(span, true).await?;
            let mut entries = Vec::new();
            for (start_ms, window) in &logged {
                if !windows.contains(start_ms) || window.state == WindowState::Verified {
                    continue;
                }
                let hot = hot.get(start_ms).copied().unwrap_or_default();
                let cold = cold.get(start_ms).copied().unwrap_or_default();
                if !window.is_being_corrected() {
                    if !window.reason.contains(&reason) {
                        let reason = format!("{}; {reason}", window.reason);
                        entries.push(LoggedWindow { reason, cold_rows: cold.rows, ..window.clone() });
                    }
                    continue;
                }
                let is_hot_whole = self.is_hot_whole(Some(window), &hot);
                let diff =
                    if is_verified(&hot, &cold) { None } else { self.diff(*start_ms, &hot, &cold).await? };
                let holds = is_verified(&hot, &cold)
                    || !is_hot_whole
                        && cold.distinct == cold.rows
                        && diff.as_ref().is_some_and(|diff| diff.is_hot_within_cold());
                if holds {
                    let mut entry = self.verified(*start_ms, &cold, Some(window), 1);
                    entry.reason = window.reason_after(&reason);
                    entry.reference.oldest_us = entry.reference.oldest_us.min(window.reference.oldest_us);
                    entries.push(entry);
                } else if diff.as_ref().is_some_and(|diff| diff.is_cold_within_hot()) {
                    // Rows came late: the window is copied again like any other.
                    let open = self.verified(*start_ms, &cold, Some(window), 1);
                    let reason = window.reason_after(&format!("late rows; {reason}"));
                    entries.push(LoggedWindow { state: WindowState::Open, reason, ..open });
                } else {
                    let diff = diff.map_or_else(String::new, |diff| format!("; {diff}"));
                    let text = format!("{reason}: hot and cold differ{diff}");
                    entries.push(self.unsound(
                        *start_ms,
                        WindowState::Mismatch,
                        text,
                        &hot,
                        &cold,
                        Some(window),
                    ));
                }
            }
            self.check_lease()?;
            self.write(&entries).await?;
        }
        Ok(())
    }

    /// Neighbouring windows together.
    fn runs(&self, windows: &BTreeSet<i64>) -> Vec<TimeRange> {
        let mut runs: Vec<TimeRange> = Vec::new();
        for start_ms in windows {
            let window = TimeRange::window(*start_ms, self.width_ms);
            match runs.last_mut() {
                Some(last) if last.to_ms == window.from_ms => last.to_ms = window.to_ms,
                _ => runs.push(window),
            }
        }
        runs
    }
}
