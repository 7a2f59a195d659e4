//! Parts of open gaps in windows.

use std::collections::BTreeMap;

use marketprism_schema::{Gap, GapCause, GapKind};

use crate::clocks::nanos;
use crate::limits::START_GAP_SHORT;

/// Part of an open gap in a window. A short start of a feed has the cause that is known of its time (`starts`), else it is this system's,
/// whatever the gap's cause.
pub(super) fn part_of(
    gap: &Gap,
    start_ns: i64,
    end_ns: i64,
    known_to_ns: i64,
    starts: &BTreeMap<i64, GapCause>,
) -> Option<Gap> {
    let part = gap.within(start_ns, end_ns, known_to_ns)?;
    let is_short = known_to_ns.saturating_sub(gap.from) <= nanos(START_GAP_SHORT);
    let cause = match gap.kind {
        GapKind::Start if is_short => starts.get(&gap.from).copied().unwrap_or(GapCause::Ours),
        _ => gap.cause,
    };
    Some(Gap { cause, ..part })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_start_is_the_operators_after_a_clean_stop_else_ours_and_a_long_one_is_the_networks() {
        let start = Gap::open(GapKind::Start, GapCause::Network, 5, "start");
        let cause = |to_ns: i64, planned: Option<i64>| {
            let starts = planned.map(|at_ns| (at_ns, GapCause::Operator)).into_iter().collect();
            part_of(&start, 0, i64::MAX, to_ns, &starts).unwrap().cause
        };
        assert_eq!(cause(9_000_000_000, None), GapCause::Ours);
        assert_eq!(cause(9_000_000_000, Some(5)), GapCause::Operator);
        assert_eq!(cause(9_000_000_000, Some(4)), GapCause::Ours, "a feed that failed later starts again");
        assert_eq!(cause(11_000_000_000, Some(5)), GapCause::Network);
    }
}
