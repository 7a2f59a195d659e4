//! Times in which one of several edges was alone, and times in which one filled another's holes, added up over streams. Pure.

use super::Time;
use super::completeness::{StreamTimes, TimeRuns};
use super::document::{EdgeTime, Finding, FindingCode as Code, Level, TruncatedList, count};

const LISTED_MAX: usize = 200;
/// Most findings of each kind.
const FINDINGS_MAX: usize = 5;

/// Newest first.
pub fn list(times: &StreamTimes) -> TruncatedList<EdgeTime> {
    let mut items = Vec::new();
    for ((edge, by), streams) in times {
        let all: TimeRuns = streams.iter().flat_map(TimeRuns::iter).collect();
        for (from, to) in all.iter() {
            let meets = |runs: &&TimeRuns| runs.iter().any(|(begin, end)| begin < to && from < end);
            items.push(EdgeTime {
                edge: edge.clone(),
                by: by.clone(),
                from: Time(from.saturating_mul(1_000)),
                to: Time(to.saturating_mul(1_000)),
                streams: u64::try_from(streams.iter().filter(meets).count()).unwrap_or(u64::MAX),
            });
        }
    }
    items.sort_by_key(|time| std::cmp::Reverse(time.from));
    let total = u64::try_from(items.len()).unwrap_or(u64::MAX);
    items.truncate(LISTED_MAX);
    TruncatedList { total, items }
}

pub fn findings(alone: &TruncatedList<EdgeTime>, filled: &TruncatedList<EdgeTime>) -> Vec<Finding> {
    let text = |time: Time| time.to_string().get(..19).map(|text| text.replace('T', " ")).unwrap_or_default();
    let add = |time: &EdgeTime| {
        let EdgeTime { edge, by, from, to, streams } = time;
        let what = |by: &String| format!("holes filled by edge {by}");
        let what = by.as_ref().map_or_else(|| "alone".to_owned(), what);
        let code = if by.is_some() { Code::EdgeHolesFilled } else { Code::EdgeAlone };
        let streams = count(*streams, "stream");
        let text = format!("{what} {} to {} ({streams})", text(*from), text(*to));
        Finding::new(code, Level::Info, format!("edge {edge}"), text, "")
    };
    let first = |list: &TruncatedList<EdgeTime>| -> Vec<Finding> {
        list.items.iter().take(FINDINGS_MAX).map(add).collect()
    };
    first(alone).into_iter().chain(first(filled)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn times_of_several_streams_are_one_and_count_them() {
        let runs = |of: &[(i64, i64)]| of.iter().copied().collect::<TimeRuns>();
        let streams = vec![runs(&[(60, 180)]), runs(&[(120, 240), (600, 660)])];
        let times = BTreeMap::from([(("e2".to_owned(), None), streams)]);
        let listed = list(&times);
        let found: Vec<_> = listed.items.iter().map(|time| (time.from.0, time.to.0, time.streams)).collect();
        assert_eq!(found, [(600_000, 660_000, 1), (60_000, 240_000, 2)]);
        let found = findings(&listed, &TruncatedList::default());
        assert_eq!(found[1].text, "alone 1970-01-01 00:01:00 to 1970-01-01 00:04:00 (2 streams)");
    }
}
