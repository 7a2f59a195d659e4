//! Facts of streams from the rows of verdicts, audits and stored ids.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use marketprism_schema::{Capability, DowntimeReason, GapCause, GapKind, StreamId};

use super::{EdgeFacts, GapFact, GapRole, IdRun, StreamFacts, TimeRun};
use crate::report::sources::ledger::{EdgeGap, RunState, StoredIdsRow, VerdictBucket};

const SECOND_NS: i64 = 1_000_000_000;

/// Verdicts of at least this time before a period are read, in seconds.
const READ_BEFORE: i64 = 3_600;

/// Facts by stream. Gaps of windows that have no final verdict yet are left out: the rows of hot may not be counted yet. `gaps` includes
/// starts from before the period, which distinguish the first start of an edge from a later one.
pub fn collect(
    verdicts: &[VerdictBucket],
    gaps: &[EdgeGap],
    ids: &[StoredIdsRow],
    begin: i64,
) -> BTreeMap<StreamId, StreamFacts> {
    let known: BTreeSet<&str> =
        verdicts.iter().filter(|row| row.rows > 0).map(|row| row.edge.as_str()).collect();
    let mut streams: BTreeMap<StreamId, StreamFacts> = BTreeMap::new();
    for row in verdicts {
        let window = i64::from(row.window_seconds.max(1));
        let capability = row.capability();
        let stream = streams.entry(row.stream.clone()).or_insert_with(|| StreamFacts {
            capability,
            window,
            edges: BTreeMap::new(),
            stored: Vec::new(),
        });
        stream.window = stream.window.max(window);
        stream.capability = weaker(stream.capability, capability);
        let edge = stream.edges.entry(row.edge.clone()).or_default();
        edge.is_known = known.contains(row.edge.as_str());
        edge.add_runs(&row.runs);
    }
    let mut earliest: HashMap<(&StreamId, &str), i64> = HashMap::new();
    let firsts = verdicts.iter().map(|row| (&row.stream, row.edge.as_str(), row.first_ms));
    for (stream, edge, first_ms) in
        firsts.chain(ids.iter().map(|row| (&row.stream, row.edge.as_str(), row.first_ms)))
    {
        let first = earliest.entry((stream, edge)).or_insert(first_ms);
        *first = first_ms.min(*first);
    }
    for row in ids {
        if let Some(stream) = streams.get_mut(&row.stream) {
            stream.stored.extend(row.ids.iter().map(|&(first, last, first_window, last_window)| IdRun {
                first,
                last,
                first_window,
                last_window,
            }));
        }
    }
    for stream in streams.values_mut() {
        stream.stored = joined(std::mem::take(&mut stream.stored));
    }
    add_gaps(gaps, &earliest, begin, &mut streams);
    streams
}

fn weaker(one: Capability, other: Capability) -> Capability {
    Capability {
        numbering: one.numbering.min(other.numbering),
        completeness: one.completeness.max(other.completeness),
        delay_seconds: one.delay_seconds.max(other.delay_seconds),
    }
}

/// Sorts ranges and joins those that overlap or adjoin.
fn joined(mut stored: Vec<IdRun>) -> Vec<IdRun> {
    stored.sort_unstable_by_key(|ids| (ids.first, ids.last));
    let mut joined: Vec<IdRun> = Vec::with_capacity(stored.len().min(16));
    for ids in stored {
        match joined.last_mut() {
            Some(before) if ids.first <= before.last.saturating_add(1) => {
                if ids.last > before.last {
                    (before.last, before.last_window) = (ids.last, ids.last_window);
                }
            }
            _ => joined.push(ids),
        }
    }
    joined
}

impl EdgeFacts {
    fn add_runs(&mut self, runs: &[(i64, i64, u8)]) {
        let of = |wanted: &[RunState]| -> Vec<TimeRun> {
            let wanted: Vec<u8> = wanted.iter().map(|state| state.code()).collect();
            let runs = runs.iter().filter(|(_, _, code)| wanted.contains(code));
            runs.map(|(from, to, _)| (*from, *to)).collect()
        };
        let add = |to: &mut super::TimeRuns, runs: Vec<TimeRun>| {
            *to = to.iter().chain(runs).collect();
        };
        add(&mut self.verified, of(&[RunState::Storing, RunState::Quiet]));
        add(&mut self.storing, of(&[RunState::Storing]));
        add(&mut self.unverifiable, of(&[RunState::Unverifiable]));
        add(&mut self.judged, of(&RunState::ALL));
        add(&mut self.open, of(&[RunState::Open]));
        add(&mut self.not_collected, of(&[RunState::NotCollected]));
    }
}

fn add_gaps(
    gaps: &[EdgeGap],
    earliest: &HashMap<(&StreamId, &str), i64>,
    begin: i64,
    streams: &mut BTreeMap<StreamId, StreamFacts>,
) {
    // End of the first start so far, per stream and edge: the parts of later windows continue it.
    let mut first_starts: HashMap<(&StreamId, &str), i64> = HashMap::new();
    let mut sorted: Vec<&EdgeGap> = gaps.iter().collect();
    sorted.sort_by_key(|gap| (gap.from_ns, gap.to_ns));
    for gap in sorted {
        let Some(stream) = streams.get_mut(&gap.stream) else { continue };
        let window = stream.window;
        let noticed = gap.window_ms.div_euclid(1_000);
        let edge = stream.edges.get(&gap.edge);
        if edge
            .into_iter()
            .flat_map(|edge| edge.open.iter())
            .any(|(from, to)| from <= noticed && noticed < to)
        {
            continue;
        }
        let key = (&gap.stream, gap.edge.as_str());
        let at = touched(gap.from_ns, gap.to_ns, window);
        let role = match gap.kind.as_str() {
            kind if kind == GapKind::Stop.as_str() => GapRole::Stop,
            kind if kind == DowntimeReason::Killed.as_str() => GapRole::Killed,
            kind if kind == GapKind::Start.as_str() => {
                let is_earliest =
                    earliest.get(&key).is_none_or(|first_ms| at.0 <= first_ms.div_euclid(1_000));
                // Windows may close before the feed starts: the first part then begins with its window.
                let is_complete = gap.from_ns <= gap.run
                    || (gap.from_ns == gap.window_ms.saturating_mul(1_000_000)
                        && gap.run >= begin.saturating_sub(READ_BEFORE).saturating_mul(SECOND_NS));
                let begins = is_complete && is_earliest;
                if begins || first_starts.get(&key) == Some(&gap.from_ns) {
                    first_starts.insert(key, gap.to_ns);
                    GapRole::FirstStart
                } else if gap.cause == GapCause::Operator.as_str() {
                    GapRole::Stop
                } else {
                    GapRole::Loss
                }
            }
            _ => GapRole::Loss,
        };
        if at.1 <= begin {
            continue;
        }
        stream.edges.entry(gap.edge.clone()).or_default().gaps.push(GapFact {
            at,
            role,
            cause: gap.cause.clone(),
            ids: gap.from_sequence.zip(gap.to_sequence).filter(|_| gap.has_ids()),
            missing: gap.missing,
        });
    }
}

/// Windows that a time touches; its end is exclusive.
fn touched(from_ns: i64, to_ns: i64, window: i64) -> TimeRun {
    let (from, to) = (from_ns.min(to_ns), from_ns.max(to_ns.saturating_sub(1)));
    let start = |ns: i64| ns.div_euclid(SECOND_NS).div_euclid(window) * window;
    (start(from), start(to) + window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lies_on_every_window_that_it_touches() {
        assert_eq!(touched(61 * SECOND_NS, 65 * SECOND_NS, 60), (60, 120));
        assert_eq!(touched(61 * SECOND_NS, 120 * SECOND_NS, 60), (60, 120));
        assert_eq!(touched(61 * SECOND_NS, 250 * SECOND_NS, 60), (60, 300));
        assert_eq!(touched(120 * SECOND_NS, 120 * SECOND_NS, 60), (120, 180));
    }

    #[test]
    fn ranges_of_ids_are_joined_over_windows_and_keep_the_windows_of_their_ends() {
        let ids = |first, last, first_window, last_window| IdRun { first, last, first_window, last_window };
        let stored =
            vec![ids(50, 50, 180, 180), ids(1, 49, 60, 60), ids(51, 99, 60, 120), ids(101, 103, 120, 120)];
        assert_eq!(joined(stored), [ids(1, 99, 60, 120), ids(101, 103, 120, 120)]);
    }
}
