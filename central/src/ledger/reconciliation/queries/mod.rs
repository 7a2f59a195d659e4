//! SQL of the reconciliation: one statement per range of windows, never one per window.

mod audits;
mod downtimes;
mod hot;
mod relived;
mod rows_and_copies;
mod verdicts;

use clickhouse::{RowOwned, RowRead};

pub use audits::{FeedProblemRow, GapSummary, WindowAudit, audits, feed_problems, reporting_periods};
pub use downtimes::{DowntimeSpan, LASTS, downtimes};
pub use hot::{
    HotContents, KilledTimes, StoredIds, ambiguous_in_hot, contents, duplicates_missing, occupied_hours,
    stored_ids, types_being_corrected, types_with_copies,
};
pub use relived::{RelivedTimes, relived_times};
pub use rows_and_copies::RowsAndCopies;
pub use verdicts::{DeadLetterRow, LossRow, counts_by_state, dead_letters, losses, verdicts};

use crate::ledger::windows::{EdgeStream, WindowRange};
use crate::storage::{Storage, StorageError, bounded, limited};
use crate::{limits, sql};

/// First nanosecond of a window, and the stream of an edge.
pub type WindowKey = (i64, EdgeStream);

async fn fetch<T: RowOwned + RowRead>(storage: &Storage, query: &str) -> Result<Vec<T>, StorageError> {
    let query = format!("{query} SETTINGS max_threads = {}", limits::COMPARISON_THREADS);
    let client = limited(&storage.client, limits::COMPARISON_TIMEOUT);
    bounded(limits::COMPARISON_TIMEOUT, client.query_raw(&query).fetch_all()).await
}

/// Condition for a `DateTime64(3)` column.
fn within_millis(column: &str, range: WindowRange) -> String {
    let millis = |ns: i64| sql::millis(ns.div_euclid(1_000_000));
    format!("{column} >= {} AND {column} < {}", millis(range.from), millis(range.to))
}

/// Condition for a `DateTime64(9)` column.
fn within_nanos(column: &str, range: WindowRange) -> String {
    format!("{column} >= {} AND {column} < {}", sql::nanos(range.from), sql::nanos(range.to))
}
