//! Times that the clock of an edge passed twice, for it was set back.

use std::collections::HashMap;

use super::{fetch, within_millis};
use crate::ledger::windows::{SECOND_NS, STEP_NOTICED_LATE_NS, WindowRange};
use crate::storage::{Storage, StorageError};

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
        "SELECT DISTINCT toString(edge), step.1 AS at_ns, step.2 AS by_ns FROM {}.edge_audits ARRAY JOIN clock_steps AS step \
         WHERE {} AND by_ns < 0 AND at_ns - {STEP_NOTICED_LATE_NS} < {} AND at_ns - by_ns > {}",
        storage.database,
        within_millis("window_start", told),
        range.to,
        range.from
    );
    let mut times = RelivedTimes::new();
    for (edge, at, by_ns) in fetch::<(String, i64, i64)>(storage, &query).await? {
        times.entry(edge).or_default().push(WindowRange::relived(at, by_ns));
    }
    Ok(times)
}
