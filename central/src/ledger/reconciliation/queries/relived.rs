//! Times that the clock of an edge passed twice, for it was set back.

use std::collections::HashMap;

use super::{fetch, within_millis};
use crate::ledger::windows::{SECOND_NS, WindowRange};
use crate::storage::{Storage, StorageError};

/// An edge on a busy machine notices the step this much after it.
const NOTICED_LATE_NS: i64 = 5 * SECOND_NS;
/// Audits that tell of a step come later: an edge closes no window until its clock is where it was.
const TOLD_LATE_NS: i64 = 24 * 3_600 * SECOND_NS;

/// By edge.
pub type RelivedTimes = HashMap<String, Vec<WindowRange>>;

/// Those that touch a range.
pub async fn relived_times(storage: &Storage, range: WindowRange) -> Result<RelivedTimes, StorageError> {
    let told = WindowRange {
        from: range.from.saturating_sub(TOLD_LATE_NS),
        to: range.to.saturating_add(TOLD_LATE_NS),
    };
    let query = format!(
        "SELECT DISTINCT toString(edge) AS of_edge, step.1 - {NOTICED_LATE_NS} AS begin_ns, step.1 - step.2 AS end_ns \
         FROM {}.edge_audits ARRAY JOIN clock_steps AS step WHERE {} AND step.2 < 0 AND begin_ns < {} AND end_ns > {}",
        storage.database,
        within_millis("window_start", told),
        range.to,
        range.from
    );
    let mut times = RelivedTimes::new();
    for (edge, from, to) in fetch::<(String, i64, i64)>(storage, &query).await? {
        times.entry(edge).or_default().push(WindowRange { from, to });
    }
    Ok(times)
}
