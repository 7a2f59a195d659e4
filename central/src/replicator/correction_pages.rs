//! One page of a correction: the windows of its rows are compared and logged as open, new rows are inserted on both sides, with the identity of
//! the old ones and a higher version, and read again; then the old ones are deleted, and the windows are compared and logged with the
//! correction's name.

use std::collections::{BTreeSet, HashSet};

use futures_util::future::try_join;
use marketprism_schema::{DataType, WireForm, stream_of};

use super::correction_plan::{
    CorrectionCounts, PagePlan, PlanRules, SidePlan, StagedEvent, StoredEvent, version_after,
};
use super::correction_queries::{PageRows, QueuedCorrection};
use super::queries::{CopyError, HotCold};
use super::window_ops::{WindowOps, expired_before_us};
use crate::row::{CORRECTION_SOURCE, TableRows, columns_of, encode_event_from};
use crate::storage::StorageError;
use crate::{clock, limits};

/// Events of which a row may be far from the venue times of their page: those without a near row, and those known to have one. On the first
/// look also those with near rows of right versions only: a try that was broken off between its inserts and its deletions left the far
/// rows of other versions beside them.
fn may_be_far<'a>(
    ids: Vec<u128>,
    near: impl Iterator<Item = (u128, &'a str)>,
    (right, is_first): (&[&str], bool),
    far: &BTreeSet<u128>,
) -> Vec<u128> {
    let settled = near.filter(|(_, adapter)| !is_first || !right.contains(adapter));
    let found: HashSet<u128> = settled.map(|(id, _)| id).collect();
    ids.into_iter().filter(|id| far.contains(id) || !found.contains(id)).collect()
}

/// Events of a correction, without those that a later one has overtaken.
#[derive(Clone, Copy)]
pub struct CorrectionPage<'a> {
    pub correction: &'a QueuedCorrection,
    pub events: &'a [StagedEvent],
    pub place: &'a PageRows,
}

impl WindowOps<'_> {
    /// Carries out one page, from wherever an earlier try was broken off. `None`: a row of it is not copied yet.
    pub async fn correct_page(
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
            let [hot, cold] = self.stored_events(page, (&adapters, round == 0), &mut far).await?;
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

    /// Rows of the events of a page, of hot and of cold: near the venue times of the page, and far from them those of [`may_be_far`]. `far`:
    /// events with such rows.
    async fn stored_events(
        &self,
        page: &CorrectionPage<'_>,
        (right, is_first): (&[&str], bool),
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
        let near = in_hot.iter().chain(&in_cold).map(|row| (row.event_id, row.adapter.as_str()));
        let looked_for = may_be_far(ids, near, (right, is_first), far);
        if !looked_for.is_empty() {
            let (of_hot, of_cold) = read(&looked_for, limits::CORRECTION_VENUE_US).await?;
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
        let oldest_us = expired_before_us(self.context.config.hot_ttl());
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
    fn rows_far_from_their_page_are_found_again_after_a_kill_between_insert_and_deletion() {
        let (right, far) = (["a@2"], BTreeSet::from([4]));
        let near = [(1, "a@2"), (2, "a@2"), (2, "a@1"), (3, "a@1"), (4, "a@2")];
        let looked_for =
            |is_first| may_be_far(vec![1, 2, 3, 4, 5], near.into_iter(), (&right, is_first), &far);
        assert_eq!(looked_for(true), [1, 4, 5]);
        assert_eq!(looked_for(false), [4, 5], "by then it is known which");
    }
}
