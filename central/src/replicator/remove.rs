//! Removal of rows from hot that cold holds verified. Off unless configured.

use std::time::Duration;

use super::error::CopyError;
use super::evaluate::WindowCondition;
use super::time_range::TimeRange;
use super::window_log::WindowState;
use super::window_ops::WindowOps;
use crate::time::Time;
use crate::{clock, limits};

impl WindowOps<'_> {
    /// Deletes rows of windows from hot that were verified before `delay` and are sound now. Deletes only event ids that cold
    /// holds, so late rows stay.
    pub async fn remove_from_hot(&self, span: TimeRange, delay: Duration) -> Result<(), CopyError> {
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        let logged_before_ms = (clock::now_ns() / 1_000_000).saturating_sub(delay_ms);
        let windows =
            self.log.removable(&self.pair.cold, span, logged_before_ms, limits::REMOVALS_A_ROUND).await?;
        for (start_ms, logged) in windows {
            let window = TimeRange::window(start_ms, self.width_ms);
            let departs = self.examine(window).await?.iter().any(|e| e.condition != WindowCondition::Sound);
            if departs || logged.state != WindowState::Verified || logged.reference.rows > limits::DIFF_ROWS {
                continue;
            }
            let held = self.pair.cold.rows(self.table, window).await?;
            let ids: Vec<u128> = held.iter().map(|row| row.0).collect();
            self.check_lease()?;
            // Logged first, so that no comparison takes the removal for a loss.
            self.write(&[logged.removed()]).await?;
            self.pair.hot.delete(self.table, window, &ids).await?;
            let (table, start, rows) = (self.table.name, Time(start_ms).to_string(), ids.len());
            tracing::info!(table, window = start, rows, "rows removed from hot; cold holds them verified");
            let counted = u64::try_from(rows).unwrap_or(u64::MAX);
            self.context.metrics.removed.with_label_values(&[table]).inc_by(counted);
        }
        Ok(())
    }
}
