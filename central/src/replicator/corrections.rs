//! Corrections: rows that another version of an adapter made of kept raw frames win over those that are stored, in hot and in cold.
//!
//! A correction begins once it is closed, all its events have arrived, and the rows that it names are copied; those of a table one after the
//! other, in the order in which they were closed. Page by page: the windows of the rows are compared and logged as open, new rows are inserted on both sides, with the identity of the old ones and a higher version, and
//! read again; then the old ones are deleted, and the windows are compared and logged with the correction's name.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use futures_util::future::try_join;
use marketprism_schema::{DataType, Table, WireForm, stream_of};
use tokio::sync::Mutex;

use super::correction_plan::{
    CorrectionCounts, PagePlan, PlanRules, SidePlan, StagedEvent, StoredEvent, version_after,
};
use super::correction_queries::{PageCursor, PageRows, PendingCorrection, QueuedCorrection, pending};
use super::queries::{CopyError, HotCold};
use super::window_ops::{WindowOps, expired_before_us};
use crate::row::{CORRECTION_SOURCE, TableRows, columns_of, encode_event_from};
use crate::storage::StorageError;
use crate::{clock, limits};

/// Pending corrections of all tables, read once for the rounds of all.
#[derive(Debug, Default)]
pub struct SharedCorrections(Mutex<Option<(Instant, Vec<QueuedCorrection>)>>);

impl SharedCorrections {
    async fn of(&self, pair: &HotCold, data_type: DataType) -> Result<Vec<QueuedCorrection>, CopyError> {
        let mut newest = self.0.lock().await;
        let is_fresh = newest.as_ref().is_some_and(|(read, _)| read.elapsed() < limits::CORRECTIONS_LOOK);
        if !is_fresh {
            *newest = Some((Instant::now(), pending(pair).await?));
        }
        let all = newest.iter().flat_map(|(_, all)| all);
        Ok(all.filter(|one| one.pending.data_type == data_type.as_str()).cloned().collect())
    }

    async fn end(&self, applied: &PendingCorrection) {
        if let Some((_, all)) = &mut *self.0.lock().await {
            all.retain(|one| one.pending != *applied);
        }
    }
}

struct RunningCorrection {
    correction: QueuedCorrection,
    cursor: PageCursor,
    counts: CorrectionCounts,
}

/// Corrections of one table.
pub struct TableCorrections<'a> {
    shared: &'a SharedCorrections,
    data_type: DataType,
    running: Option<RunningCorrection>,
    /// The one that failed, and when.
    failed: Option<(u128, Instant)>,
    /// Corrections of a cold that was put back may not be carried out again yet: until then its rows differ from those of hot, and a recheck
    /// would call the difference a mismatch for good. After a start too, since cold may have been put back before it.
    pub is_recovering: bool,
    looked_for_abandoned: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageEnd {
    More,
    /// A row of the page is not copied yet.
    Waits,
    Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnEnd {
    TimeUp,
    NoneComplete,
    Waits,
    Failed,
    /// Correction that had failed before.
    FailedAgain,
}

impl<'a> TableCorrections<'a> {
    pub fn new(shared: &'a SharedCorrections, table: &str) -> Self {
        let of_name = |one: &Table| one.name == table;
        let data_type = Table::ALL.into_iter().find(of_name).map_or(DataType::Trade, |table| table.data_type);
        Self {
            shared,
            data_type,
            running: None,
            failed: None,
            is_recovering: true,
            looked_for_abandoned: None,
        }
    }

    /// Cold was put back to an earlier state: what was carried out there may be lost.
    pub async fn restart(&mut self) {
        (self.running, self.failed, self.is_recovering, self.looked_for_abandoned) = (None, None, true, None);
        *self.shared.0.lock().await = None;
    }

    /// Carries out pages for a bounded time. True: there are more. A correction that fails waits, and stops only other corrections.
    pub async fn step(&mut self, ops: &WindowOps<'_>, upto_ms: i64) -> Result<bool, CopyError> {
        let end = self.pages(ops, upto_ms).await?;
        Ok(self.end_turn(end))
    }

    /// A correction that fails each time, by its content, holds up no recheck.
    fn end_turn(&mut self, end: TurnEnd) -> bool {
        self.is_recovering &= !matches!(end, TurnEnd::NoneComplete | TurnEnd::FailedAgain);
        end == TurnEnd::TimeUp
    }

    async fn pages(&mut self, ops: &WindowOps<'_>, upto_ms: i64) -> Result<TurnEnd, CopyError> {
        let began = Instant::now();
        while began.elapsed() < limits::CORRECTION_TURN {
            let mut running = match self.running.take() {
                Some(running) => running,
                None => {
                    let Some(correction) = self.next(ops).await? else { return Ok(TurnEnd::NoneComplete) };
                    let failed = self.failed_at(&correction.pending);
                    if failed.is_some_and(|at| at.elapsed() < limits::CORRECTION_RETRY) {
                        return Ok(TurnEnd::Failed);
                    }
                    let (cursor, counts) = Default::default();
                    RunningCorrection { correction, cursor, counts }
                }
            };
            match self.page(ops, &mut running, upto_ms).await {
                Ok(PageEnd::More) => self.running = Some(running),
                Ok(PageEnd::Waits) => {
                    self.running = Some(running);
                    return Ok(TurnEnd::Waits);
                }
                Ok(PageEnd::Last) => {}
                Err(CopyError::LeaseLost) => return Err(CopyError::LeaseLost),
                Err(error) => {
                    let pending = &running.correction.pending;
                    let (table, name) = (ops.table.name, pending.name());
                    tracing::warn!(table, correction = %name, %error, "correction failed; it is tried again later");
                    let has_failed = self.failed_at(pending).is_some();
                    self.failed = Some((pending.correction, Instant::now()));
                    return Ok(if has_failed { TurnEnd::FailedAgain } else { TurnEnd::Failed });
                }
            }
        }
        Ok(TurnEnd::TimeUp)
    }

    fn failed_at(&self, pending: &PendingCorrection) -> Option<Instant> {
        self.failed.filter(|(id, _)| *id == pending.correction).map(|(_, at)| at)
    }

    async fn page(
        &self,
        ops: &WindowOps<'_>,
        running: &mut RunningCorrection,
        upto_ms: i64,
    ) -> Result<PageEnd, CopyError> {
        let (pending, mut cursor) = (&running.correction.pending, running.cursor.clone());
        let (mut page, place) = ops.pair.hot.staged(pending, &mut cursor).await?;
        let Some(place) = place else {
            self.end(ops, pending, running.counts).await?;
            return Ok(PageEnd::Last);
        };
        let all = page.len();
        page.retain(|event| !running.correction.is_overtaken(event.received_at_ns));
        let left_out = u64::try_from(all - page.len()).unwrap_or_default();
        let page = CorrectionPage { correction: &running.correction, events: &page, place: &place };
        let done = ops.correct_page(self.data_type, &page, upto_ms).await?;
        let Some(counts) = done else { return Ok(PageEnd::Waits) };
        running.counts.add(counts);
        running.counts.absent += left_out;
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
        let opened = ops.log.being_corrected(&ops.pair.cold).await?.into_iter();
        let own = opened.filter(|(_, window)| window.correction() == Some(&name));
        ops.close_windows(&name, &own.map(|(start_ms, _)| start_ms).collect()).await?;
        ops.check_lease()?;
        for side in [&ops.pair.cold, &ops.pair.hot] {
            side.log_applied(pending, counts, ops.context.holder).await?;
        }
        tracing::info!(table = ops.table.name, correction = name, ?counts, "correction carried out");
        self.shared.end(pending).await;
        Ok(())
    }

    /// The first whose events have all arrived. One that failed is tried again later, and those closed after it wait for it.
    async fn next(&mut self, ops: &WindowOps<'_>) -> Result<Option<QueuedCorrection>, CopyError> {
        let all = self.shared.of(ops.pair, self.data_type).await?;
        let shown = ops.context.metrics.corrections_pending.with_label_values(&[ops.table.name]);
        shown.set(i64::try_from(all.len()).unwrap_or(i64::MAX));
        let mut complete = Vec::new();
        for one in all {
            if ops.pair.hot.staged_count(&one.pending).await? == one.pending.events {
                complete.push(one);
            }
        }
        if self.looked_for_abandoned.is_none_or(|at| at.elapsed() >= limits::ABANDONED_CORRECTIONS_LOOK) {
            ops.close_abandoned(&complete.iter().map(|one| one.pending.name().to_string()).collect()).await?;
            self.looked_for_abandoned = Some(Instant::now());
        }
        Ok(complete.into_iter().next())
    }
}

/// Events of a correction, without those that a later one has overtaken.
#[derive(Clone, Copy)]
struct CorrectionPage<'a> {
    correction: &'a QueuedCorrection,
    events: &'a [StagedEvent],
    place: &'a PageRows,
}

impl WindowOps<'_> {
    /// Carries out one page, from wherever an earlier try was broken off. `None`: a row of it is not copied yet.
    async fn correct_page(
        &self,
        data_type: DataType,
        page: &CorrectionPage<'_>,
        upto_ms: i64,
    ) -> Result<Option<CorrectionCounts>, CopyError> {
        let pending = &page.correction.pending;
        let (name, adapters) = (pending.name().to_string(), page.correction.right_adapters());
        let rules = PlanRules { adapters: &adapters, upto_ms, width_ms: self.width_ms };
        let mut far = BTreeSet::new();
        for round in 0..limits::INSERT_ROUNDS {
            let [hot, cold] = self.stored_events(page, &mut far).await?;
            let mut plan = PagePlan::new(page.events, &hot, &cold, &rules);
            if plan.waits {
                return Ok(None);
            }
            self.leave_out_expired(page.events, &mut plan);
            if plan.inserts() {
                self.open_windows(&name, &plan).await?;
                self.insert_new_rows(data_type, page, &plan, round).await?;
                continue;
            }
            if plan.deletes() {
                self.open_windows(&name, &plan).await?;
                self.delete_old_rows(data_type, page, &plan).await?;
            }
            self.close_windows(&name, &plan.windows).await?;
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
        let text = format!("rows of correction {name} are accepted and not in the table");
        Err(self.pair.hot.failed(StorageError::Unreachable(text)))
    }

    /// Rows of the events of a page, of hot and of cold: near the venue times of the page, and far from them those of which neither side has
    /// a near one. `far`: events with such rows.
    async fn stored_events(
        &self,
        page: &CorrectionPage<'_>,
        far: &mut BTreeSet<u128>,
    ) -> Result<[Vec<StoredEvent>; 2], CopyError> {
        let HotCold { hot, cold, .. } = self.pair;
        let read = async |ids: &[u128], around_us: i64| {
            let place = page.place.around(around_us);
            let pending = &page.correction.pending;
            try_join(
                hot.stored_events(self.table, pending, ids, &place),
                cold.stored_events(self.table, pending, ids, &place),
            )
            .await
        };
        let ids: Vec<u128> = page.events.iter().map(|event| event.event_id.0).collect();
        if ids.is_empty() {
            return Ok([Vec::new(), Vec::new()]);
        }
        let (mut in_hot, mut in_cold) = read(&ids, limits::CORRECTION_NEAR_US).await?;
        let found: HashSet<u128> = in_hot.iter().chain(&in_cold).map(|row| row.event_id).collect();
        let missing: Vec<u128> =
            ids.into_iter().filter(|id| far.contains(id) || !found.contains(id)).collect();
        if !missing.is_empty() {
            let (of_hot, of_cold) = read(&missing, limits::CORRECTION_VENUE_US).await?;
            far.extend(of_hot.iter().chain(&of_cold).map(|row| row.event_id));
            for (rows, more) in [(&mut in_hot, of_hot), (&mut in_cold, of_cold)] {
                rows.retain(|row| !far.contains(&row.event_id));
                rows.extend(more);
            }
        }
        Ok([in_hot, in_cold])
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
        CorrectionPage { correction, events: page, .. }: &CorrectionPage<'_>,
        plan: &PagePlan,
        round: u32,
    ) -> Result<(), CopyError> {
        let pending = &correction.pending;
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
        CorrectionPage { correction, place, .. }: &CorrectionPage<'_>,
        plan: &PagePlan,
    ) -> Result<(), CopyError> {
        let HotCold { hot, cold, .. } = self.pair;
        self.check_lease()?;
        if !plan.marked.is_empty() {
            let stream = stream_of(data_type);
            hot.insert_marks(&correction.pending, stream, &plan.marked, clock::now_ms()).await?;
        }
        for (side, SidePlan { remove, remove_us, .. }) in [(cold, &plan.cold), (hot, &plan.hot)] {
            if let Some(venue_us) = *remove_us {
                self.check_lease()?;
                side.delete_other_versions(self.table, correction, remove, &place.within(venue_us)).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_rechecked_after_a_start_before_every_complete_correction_was_tried() {
        let shared = SharedCorrections::default();
        let mut corrections = TableCorrections::new(&shared, "trades");
        for (end, has_more) in [(TurnEnd::TimeUp, true), (TurnEnd::Waits, false), (TurnEnd::Failed, false)] {
            assert_eq!(corrections.end_turn(end), has_more, "{end:?}");
            assert!(corrections.is_recovering, "pages are left after {end:?}");
        }
        for end in [TurnEnd::NoneComplete, TurnEnd::FailedAgain] {
            corrections.is_recovering = true;
            assert!(!corrections.end_turn(end) && !corrections.is_recovering, "{end:?}");
            assert!(
                corrections.end_turn(TurnEnd::TimeUp) && !corrections.is_recovering,
                "a later correction"
            );
        }
    }
}
