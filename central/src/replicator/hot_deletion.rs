//! Deletion of rows from hot: rows that cold holds verified (off unless configured), and late duplicates.
//!
//! A late duplicate is an event published again after hot dropped it, while cold holds it in an earlier window. Ingest recognizes
//! duplicates by the rows of hot, so it stores such an event as new. Copied to cold it would be a second row, and a merge could then remove
//! the first one from a verified window. So it is deleted from hot before its window is copied.

use std::time::Duration;

use super::evaluate::WindowCondition;
use super::queries::CopyError;
use super::reconcile::RowComparison;
use super::window::{Digests, TimeRange};
use super::window_log::LoggedWindow;
use super::window_ops::WindowOps;
use crate::time::{self, Time, millis};
use crate::{clock, limits};

impl WindowOps<'_> {
    /// Deletes rows of windows from hot that were verified before `delay` and are sound now. Deletes only event ids that cold
    /// holds, so late rows stay.
    pub async fn remove_from_hot(&self, span: TimeRange, delay: Duration) -> Result<(), CopyError> {
        let delay_ms = millis(delay);
        let logged_before_ms = (clock::now_ns() / 1_000_000).saturating_sub(delay_ms);
        let windows =
            self.log.removable(&self.pair.cold, span, logged_before_ms, limits::REMOVALS_A_ROUND).await?;
        let Some((last_ms, _)) = windows.last_key_value() else { return Ok(()) };
        let hot = &self.pair.hot;
        let noted = self.pair.dropped.note_removal(&hot.storage, last_ms.saturating_add(self.width_ms)).await;
        noted.map_err(|error| hot.failed(error))?;
        for logged in windows.values() {
            if self.may_remove(logged).await? {
                self.remove_window(logged).await?;
            }
        }
        Ok(())
    }

    /// The window is sound, but for rows that a removal which failed has deleted.
    async fn may_remove(&self, logged: &LoggedWindow) -> Result<bool, CopyError> {
        for examined in self.examine(TimeRange::window(logged.start_ms, self.width_ms)).await? {
            let is_whole = match examined.condition {
                WindowCondition::Sound => true,
                WindowCondition::CompareRows if logged.is_being_removed() => {
                    !matches!(self.compare_rows(&examined).await?, RowComparison::Modified(_))
                }
                _ => false,
            };
            if !is_whole {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn remove_window(&self, logged: &LoggedWindow) -> Result<(), CopyError> {
        let window = TimeRange::window(logged.start_ms, self.width_ms);
        let held = self.pair.cold.rows(self.table, window).await?;
        let ids: Vec<u128> = held.iter().map(|row| row.0).collect();
        self.check_lease()?;
        // Logged first, so that no comparison takes the removal for a loss.
        if !logged.is_being_removed() {
            self.write(&[logged.being_removed()]).await?;
        }
        self.pair.hot.delete(self.table, window, &ids).await?;
        self.write(&[logged.removed()]).await?;
        let (table, start, rows) = (self.table.name, Time(logged.start_ms).to_string(), ids.len());
        tracing::info!(table, window = start, rows, "rows removed from hot; cold holds them verified");
        let counted = u64::try_from(rows).unwrap_or(u64::MAX);
        self.context.metrics.removed.with_label_values(&[table]).inc_by(counted);
        Ok(())
    }

    /// Deletes rows from hot that cold holds in other windows; returns their number. Only rows old enough to have been
    /// dropped from hot before, perhaps under an earlier configuration, are checked.
    pub async fn delete_late_duplicates(&self, counts: &Digests) -> Result<usize, CopyError> {
        let kept_us = time::nanos(self.context.config.surely_in_hot()) / 1_000;
        let before_us =
            (clock::now_ns() / 1_000).saturating_sub(kept_us).max(self.pair.dropped.gone_before_us());
        let mut rows = 0;
        for (&start_ms, _) in counts.iter().filter(|(_, state)| state.oldest_us < before_us) {
            rows +=
                self.delete_late_duplicates_in(TimeRange::window(start_ms, self.width_ms), before_us).await?;
        }
        if rows > 0 {
            let table = self.table.name;
            tracing::info!(table, rows, "deleted republished events from hot: cold holds them already");
            let counted = u64::try_from(rows).unwrap_or(u64::MAX);
            self.context.metrics.published_again.with_label_values(&[table]).inc_by(counted);
        }
        Ok(rows)
    }

    async fn delete_late_duplicates_in(&self, window: TimeRange, before_us: i64) -> Result<usize, CopyError> {
        let (hot, cold) = (&self.pair.hot, &self.pair.cold);
        let (mut from_id, mut deleted) = (0, 0);
        loop {
            let old = hot.older_than(self.table, window, before_us, from_id).await?;
            let times = old.iter().map(|row| row.1);
            let Some((first_us, last_us)) = times.clone().min().zip(times.max()) else { return Ok(deleted) };
            // A correction may have given the row in cold another time.
            let around = limits::CORRECTION_VENUE_US;
            let times_us = (first_us.saturating_sub(around), last_us.saturating_add(around));
            let ids: Vec<u128> = old.iter().map(|row| row.0).collect();
            let known = cold.held_outside(self.table, window, &ids, Some(times_us)).await;
            let known = known?;
            self.check_lease()?;
            hot.delete(self.table, window, &known).await?;
            deleted += known.len();
            match ids.last().and_then(|last| last.checked_add(1)) {
                Some(next) if ids.len() >= limits::IDS_A_DELETE => from_id = next,
                _ => return Ok(deleted),
            }
        }
    }
}
