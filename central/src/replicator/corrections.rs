//! Corrections: rows that another version of an adapter made of kept raw frames win over those that are stored, in hot and in cold.
//!
//! A correction begins once it is closed, all its events have arrived, and the rows that it names are copied; those of a table one after the
//! other, in the order in which they were closed.

use std::collections::BTreeSet;
use std::time::Instant;

use marketprism_schema::{DataType, Table};
use tokio::sync::Mutex;

use super::correction_pages::CorrectionPage;
use super::correction_plan::CorrectionCounts;
use super::correction_queries::{PageCursor, PendingCorrection, QueuedCorrection, pending};
use super::queries::{CopyError, HotCold};
use super::window_log::WindowLog;
use super::window_ops::WindowOps;
use crate::limits;
use crate::shared_answer::SharedAnswer;

/// Pending corrections of all tables, read once for the rounds of all.
#[derive(Debug, Default)]
pub struct SharedCorrections {
    pending: Mutex<Option<(Instant, Vec<QueuedCorrection>)>>,
    /// Tables with windows that corrections opened.
    opened: SharedAnswer<BTreeSet<String>, CopyError>,
}

impl SharedCorrections {
    async fn of(&self, pair: &HotCold, data_type: DataType) -> Result<Vec<QueuedCorrection>, CopyError> {
        let mut newest = self.pending.lock().await;
        let is_fresh = newest.as_ref().is_some_and(|(read, _)| read.elapsed() < limits::CORRECTIONS_LOOK);
        if !is_fresh {
            *newest = Some((Instant::now(), pending(pair).await?));
        }
        let all = newest.iter().flat_map(|(_, all)| all);
        Ok(all.filter(|one| one.pending.data_type == data_type.as_str()).cloned().collect())
    }

    async fn end(&self, applied: &PendingCorrection) {
        if let Some((_, all)) = &mut *self.pending.lock().await {
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
    /// Time of the start, or of the last restart.
    restarted: Instant,
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
            restarted: Instant::now(),
        }
    }

    /// Cold was put back to an earlier state: what was carried out there may be lost.
    pub async fn restart(&mut self) {
        (self.running, self.failed, self.is_recovering, self.looked_for_abandoned) = (None, None, true, None);
        *self.shared.pending.lock().await = None;
        self.restarted = Instant::now();
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
            if self.may_have_opened(ops).await? {
                let going_on = complete.iter().map(|one| one.pending.name().to_string());
                ops.close_abandoned(&going_on.collect()).await?;
            }
            self.looked_for_abandoned = Some(Instant::now());
        }
        Ok(complete.into_iter().next())
    }

    /// Windows of the table may be open by a correction: asked once for the tables that look at the same time.
    async fn may_have_opened(&self, ops: &WindowOps<'_>) -> Result<bool, CopyError> {
        let fresh = Instant::now().checked_sub(limits::CORRECTIONS_LOOK).unwrap_or(self.restarted);
        let asked = WindowLog::tables_corrected(&ops.pair.cold);
        let opened = self.shared.opened.since(fresh.max(self.restarted), asked).await?;
        Ok(opened.contains(ops.table.name))
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
