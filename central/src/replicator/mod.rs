//! Replication from hot to cold, by windows of `created_at`: copy, verify by count and fingerprints, log, recheck.
//!
//! A window is copied by inserts that are stored as a whole or not at all (`copy`), so no row is ever visible twice. The window log in
//! cold keeps the digest of hot at the time of verification: the reference that later shows which side was modified (`evaluate`). Corrections
//! change both sides alike and log the window again (`corrections`).

mod abandoned_moves;
mod copy;
mod correction_pages;
mod correction_plan;
mod correction_queries;
mod correction_windows;
mod corrections;
mod evaluate;
mod hot_deletion;
mod instruments;
mod queries;
mod recheck;
mod recheck_turns;
mod reconcile;
mod replicate;
mod run;
mod shared_reading;
mod table_states;
mod verify;
mod window;
mod window_log;
mod window_ops;
mod worker;

pub use copy::{Copier, Direction};
pub use evaluate::{RowDiff, WindowCondition};
pub use queries::{CopyError, Endpoint, HotCold, TableSpec};
pub use reconcile::EvaluatedWindow;
pub use run::{LEASE, replicate};
pub use verify::{ComparedState, ComparedWindow};
pub use window::{TimeRange, align};
pub use window_log::{LoggedWindow, WindowLog, WindowState};
pub use window_ops::{CopyContext, WindowOps};

use marketprism_schema::Table;

use self::correction_plan::CorrectionCounts;
use crate::metrics::ReplicationMetrics;

/// Creates counters and histograms at 0, so that `increase()` sees the first event.
pub fn expect_series(metrics: &ReplicationMetrics) {
    metrics.rows.with_label_values(&[instruments::INSTRUMENTS]);
    for table in Table::ALL.map(|table| table.name) {
        for family in
            [&metrics.rows, &metrics.retries, &metrics.removed, &metrics.published_again, &metrics.put_back]
        {
            family.with_label_values(&[table]);
        }
        for what in CorrectionCounts::default().named().into_keys() {
            metrics.corrected.with_label_values(&[table, what]);
        }
        for state in WindowState::ALL {
            metrics.windows.with_label_values(&[table, state.as_str()]);
        }
        metrics.copy_seconds.with_label_values(&[table]);
        metrics.round_seconds.with_label_values(&[table]);
    }
}
