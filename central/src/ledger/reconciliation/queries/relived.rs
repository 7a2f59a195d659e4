//! Times that the clock of an edge passed twice, for it was set back.

use std::collections::HashMap;

use super::{fetch, within_millis};
use crate::ledger::windows::{SECOND_NS, WindowRange};
use crate::storage::{Storage, StorageError};

/// Audits with a step come later: an edge closes no window until its clock is where it was.
const REPORTED_LATE_NS: i64 = 24 * 3_600 * SECOND_NS;

/// By edge.
pub type RelivedTimes = HashMap<String, Vec<WindowRange>>;

/// Those that touch a range.
pub async fn relived_times(storage: &Storage, range: WindowRange) -> Result<RelivedTimes, StorageError> {
    let reported = WindowRange {
        from: range.from.saturating_sub(REPORTED_LATE_NS),
        to: range.to.saturating_add(REPORTED_LATE_NS),
    };
    // An edge reports its steps in their order, in windows that follow one another.
    let query = format!(
        "SELECT DISTINCT toString(edge) AS edge_name, toUnixTimestamp64Milli(window_start) AS reported_ms, number, step.1, step.2 FROM {}.edge_audits \
         ARRAY JOIN clock_steps AS step, arrayEnumerate(clock_steps) AS number WHERE {} ORDER BY edge_name, reported_ms, number",
        storage.database,
        within_millis("window_start", reported)
    );
    let mut steps: HashMap<String, Vec<(i64, i64)>> = HashMap::new();
    for (edge, _, _, at, by_ns) in fetch::<(String, i64, u32, i64, i64)>(storage, &query).await? {
        steps.entry(edge).or_default().push((at, by_ns));
    }
    let touching = |steps: Vec<_>| -> Vec<WindowRange> {
        passed_twice(&steps).filter(|time| time.from < range.to && time.to > range.from).collect()
    };
    Ok(steps.into_iter().map(|(edge, steps)| (edge, touching(steps))).collect())
}

/// By the steps of a clock, in their order: its time afterwards, and the difference.
fn passed_twice(steps: &[(i64, i64)]) -> impl Iterator<Item = WindowRange> {
    let set_back = steps.iter().enumerate().filter(|(_, (_, by_ns))| *by_ns < 0);
    set_back.map(|(index, &(at, by_ns))| {
        let whole = WindowRange::relived(at, by_ns);
        // Set forward beyond where it was: it passed the rest once.
        let mut forward = steps.iter().skip(index + 1).take_while(|(_, by_ns)| *by_ns > 0);
        let beyond = forward.find(|(after, _)| *after >= whole.to);
        let before = beyond.map(|(after, by_ns)| after.saturating_sub(*by_ns)).filter(|before| *before >= at);
        WindowRange { to: before.map_or(whole.to, |before| before.min(whole.to)), ..whole }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_right_again_passed_only_the_time_between_twice() {
        let times = |steps: &[(i64, i64)]| -> Vec<(i64, i64)> {
            let seconds: Vec<_> = steps.iter().map(|(at, by)| (at * SECOND_NS, by * SECOND_NS)).collect();
            passed_twice(&seconds).map(|time| (time.from / SECOND_NS, time.to / SECOND_NS)).collect()
        };
        assert_eq!(times(&[(100, -60)]), [(95, 160)]);
        assert_eq!(times(&[(100, -60), (172, 60)]), [(95, 112)]);
        assert_eq!(times(&[(172, 60), (130, -60)]), [(125, 190)], "set forward before");
        assert_eq!(times(&[(100, -60), (140, 20)]), [(95, 160)], "not beyond where it was");
        assert_eq!(times(&[(100, -60), (105, -5), (172, 60)]), [(95, 160), (100, 110)], "set back again");
        assert_eq!(times(&[(100, -60), (150, 20), (250, 70)]), [(95, 160)], "passed all of it");
    }
}
