//! Completeness of one stream in a period: events missing, time that nobody knows of, and time that the venue's numbers prove. Pure.
//!
//! A gap lies on every window that it touches, whichever window noticed it. Where ids rise by one, the ids in hot decide, whatever edges
//! say: from the first to the last of them nothing is unknown, and a hole between them is missing. Elsewhere an edge covers for another
//! only in windows that are verified, in which it has events of the stream, and that no gap of its own touches.

#[cfg(test)]
mod downtime_tests;
mod facts;
#[cfg(test)]
mod model;
mod redundancy;
mod runs;

use std::collections::BTreeMap;

use marketprism_schema::{Capability, Completeness, Numbering};

pub use facts::collect;
pub use redundancy::{Redundancy, StreamTimes, redundancy};
pub use runs::{TimeRun, TimeRuns};

/// Cause of missing ids in which no edge saw a gap.
pub const UNNOTICED: &str = "not noticed by any edge";

/// Everything known of one stream. Times are seconds since 1970.
#[derive(Debug, Clone)]
pub struct StreamFacts {
    pub capability: Capability,
    /// Length of its windows.
    pub window: i64,
    pub edges: BTreeMap<String, EdgeFacts>,
    /// Numbered ids in hot, also of some time around the period; sorted and disjoint.
    pub stored: Vec<IdRun>,
}

/// Windows and gaps of one edge.
#[derive(Debug, Clone, Default)]
pub struct EdgeFacts {
    /// Hot has rows of this edge: the audits of a stranger cover for nobody.
    pub is_known: bool,
    pub verified: TimeRuns,
    /// Verified, with events that this edge stored or that the broker had already.
    pub storing: TimeRuns,
    pub unverifiable: TimeRuns,
    /// With a verdict of any state.
    pub judged: TimeRuns,
    /// Not closed yet, or overdue.
    pub open: TimeRuns,
    /// Verified, except for a time in which the edge collected nothing on purpose.
    pub not_collected: TimeRuns,
    /// Also such of before and after the period that touch it.
    pub gaps: Vec<GapFact>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapFact {
    /// Windows that it touches.
    pub at: TimeRun,
    pub role: GapRole,
    pub cause: String,
    /// First and last id, where the venue numbers them by one.
    pub ids: Option<(i64, i64)>,
    /// Missing events; none when unknown.
    pub missing: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapRole {
    /// Something may be missing.
    Loss,
    /// The edge was killed: what it received in this time is not audited.
    Killed,
    /// An edge's first start with this stream: nothing was to be collected before.
    FirstStart,
    /// Stop of a run: the start after it reports the same gap. Also the start after a stop by an operator: its time is known.
    Stop,
}

/// Consecutive ids in hot, with the windows of the first and of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRun {
    pub first: i64,
    pub last: i64,
    pub first_window: i64,
    pub last_window: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingEvents {
    /// Windows in which they belong.
    pub at: TimeRun,
    pub count: u64,
    /// First and last id; none without numbers.
    pub ids: Option<(i64, i64)>,
    pub cause: String,
}

/// Windows of all edges by what is certain of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamCompleteness {
    pub missing: Vec<MissingEvents>,
    /// Ids in hot skip them over a time in which no edge collected, on purpose.
    pub paused: Vec<MissingEvents>,
    /// Ids in hot skip them next to a window that is open: their rows may still be on the way.
    pub pending: Vec<MissingEvents>,
    /// Windows not collected on purpose that nothing resolves, per edge.
    pub not_collected: BTreeMap<String, TimeRuns>,
    /// Gaps of unknown size that nothing resolves, by cause.
    pub unknown_gaps: BTreeMap<String, u64>,
    /// Unverifiable windows that nothing resolves, per edge.
    pub uncovered: BTreeMap<String, TimeRuns>,
    /// Time between the first and the last verdict without any, that no numbers prove.
    pub absent: TimeRuns,
    /// Windows that the venue's numbers prove to be complete, per edge.
    pub proven: BTreeMap<String, TimeRuns>,
    /// Window from which on the venue numbers from a lower id on again.
    pub renumbered_at: Option<i64>,
}

impl StreamCompleteness {
    /// Windows of an edge with a final verdict in which nothing is unknown or missing.
    pub fn covered(&self, facts: &StreamFacts, edge: &str) -> TimeRuns {
        let Some(of_edge) = facts.edges.get(edge) else { return TimeRuns::default() };
        let uncovered = self.uncovered.get(edge).cloned().unwrap_or_default();
        let missing = self.missing.iter().map(|events| events.at).collect();
        of_edge.verified.union(&of_edge.unverifiable).minus(&uncovered).minus(&missing)
    }

    /// Nothing is missing and nothing is unknown, apart from mismatches and open windows; and everything was collected.
    #[cfg(test)]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
            && self.unknown_gaps.is_empty()
            && self.uncovered.values().all(TimeRuns::is_empty)
            && self.absent.is_empty()
            && self.paused.is_empty()
            && self.pending.is_empty()
            && self.not_collected.is_empty()
    }
}

/// The rule. `period`: begin and end in seconds.
pub fn judge(facts: &StreamFacts, period: TimeRun) -> StreamCompleteness {
    let numbers = (facts.capability.numbering == Numbering::ByOne).then(|| Numbers::of(facts));
    let mut found = StreamCompleteness::default();
    if let Some(numbers) = &numbers {
        let (idle, open) = (idle(facts), open(facts));
        let touches = |runs: &TimeRuns, events: &MissingEvents| {
            events.cause == UNNOTICED && !runs.within(&[events.at].into_iter().collect()).is_empty()
        };
        let (pending, closed) =
            numbers.missing(facts, period).into_iter().partition(|events| touches(&open, events));
        found.pending = pending;
        (found.paused, found.missing) = closed.into_iter().partition(|events| touches(&idle, events));
        found.renumbered_at = numbers.renumbered_at.filter(|at| (period.0..period.1).contains(at));
    }
    for (name, edge) in &facts.edges {
        let resolved = match &numbers {
            Some(numbers) => numbers.accounted.clone(),
            None => covered(facts, name),
        };
        for gap in edge.gaps.iter().filter(|gap| matches!(gap.role, GapRole::Loss | GapRole::Killed)) {
            unresolved_gap(gap, numbers.is_some(), &resolved, period, &mut found);
        }
        let uncovered = edge.unverifiable.minus(&resolved);
        if !uncovered.is_empty() {
            found.uncovered.insert(name.clone(), uncovered);
        }
        let resolved = resolved.minus(&found.paused.iter().map(|events| events.at).collect());
        let not_collected = edge.not_collected.minus(&resolved);
        if !not_collected.is_empty() {
            found.not_collected.insert(name.clone(), not_collected);
        }
        let proven = proven(facts, edge, numbers.as_ref());
        if !proven.is_empty() {
            found.proven.insert(name.clone(), proven);
        }
    }
    found.absent = absent(facts, numbers.as_ref());
    found
}

/// Windows that are not closed yet, or overdue, which is a finding of its own.
fn open(facts: &StreamFacts) -> TimeRuns {
    facts.edges.values().flat_map(|edge| edge.open.iter()).collect()
}

/// Windows that an edge did not collect on purpose and that no other one covers.
fn idle(facts: &StreamFacts) -> TimeRuns {
    let of = |(name, edge): (&String, &EdgeFacts)| edge.not_collected.minus(&covered(facts, name));
    facts.edges.iter().flat_map(|edge| of(edge).iter().collect::<Vec<_>>()).collect()
}

/// Windows in which another edge of the stream has everything that this one may lack.
fn covered(facts: &StreamFacts, name: &str) -> TimeRuns {
    let others = facts.edges.iter().filter(|(other, edge)| *other != name && edge.is_known);
    others.flat_map(|(_, edge)| edge.whole().iter().collect::<Vec<_>>()).collect()
}

fn unresolved_gap(
    gap: &GapFact,
    is_numbered: bool,
    resolved: &TimeRuns,
    period: TimeRun,
    found: &mut StreamCompleteness,
) {
    let at: TimeRuns = [(gap.at.0.max(period.0), gap.at.1.min(period.1))].into_iter().collect();
    if at.minus(resolved).is_empty() {
        return;
    }
    match gap.missing {
        // The ids of hot and of all gaps are compared already.
        Some(_) if is_numbered && gap.ids.is_some() => {}
        Some(0) => {}
        Some(count) => {
            found.missing.push(MissingEvents { at: gap.at, count, ids: None, cause: gap.cause.clone() });
        }
        None => *found.unknown_gaps.entry(gap.cause.clone()).or_default() += 1,
    }
}

/// Windows of an edge that numbers of the venue prove: the ids in hot, or the links that the edge checked.
fn proven(facts: &StreamFacts, edge: &EdgeFacts, numbers: Option<&Numbers>) -> TimeRuns {
    if facts.capability.completeness == Completeness::LowerBound {
        return TimeRuns::default();
    }
    match numbers {
        Some(numbers) => {
            let holes: TimeRuns = numbers.holes.iter().map(|hole| hole.at).collect();
            edge.verified
                .union(&edge.unverifiable)
                .union(&edge.not_collected)
                .within(&numbers.accounted)
                .minus(&holes)
        }
        None if facts.capability.numbering == Numbering::Linked => edge.whole(),
        None => TimeRuns::default(),
    }
}

fn absent(facts: &StreamFacts, numbers: Option<&Numbers>) -> TimeRuns {
    let judged: TimeRuns = facts.edges.values().flat_map(|edge| edge.judged.iter()).collect();
    let span = judged.iter().next().zip(judged.iter().last()).map(|(first, last)| (first.0, last.1));
    let absent = span.into_iter().collect::<TimeRuns>().minus(&judged);
    match numbers {
        Some(numbers) => absent.minus(&numbers.accounted),
        None => absent,
    }
}

impl EdgeFacts {
    /// Windows that any gap touches, starts and stops included.
    fn touched(&self) -> TimeRuns {
        self.gaps.iter().map(|gap| gap.at).collect()
    }
}

/// Ids of a stream that rise by one, as hot holds them.
struct Numbers {
    holes: Vec<MissingEvents>,
    /// Windows between that of the first and that of the last id. Those two are known in part only.
    accounted: TimeRuns,
    /// Window of the first of the ids that begin again.
    renumbered_at: Option<i64>,
}

impl Numbers {
    fn of(facts: &StreamFacts) -> Self {
        let window = facts.window;
        let restart = restart(facts);
        let holes = facts.stored.windows(2).zip(1..).filter_map(|(pair, number)| {
            let [before, after] = pair else { return None };
            if restart == Some(number) {
                return None;
            }
            let (first, last) = (before.last.saturating_add(1), after.first.saturating_sub(1));
            let at = (
                before.last_window.min(after.first_window),
                before.last_window.max(after.first_window) + window,
            );
            Some(missing_ids(facts, first, last, at))
        });
        let holes = holes.collect();
        // After a restart the greatest ids are the oldest.
        let from = facts.stored.iter().map(|ids| ids.first_window + window).min();
        let to = facts.stored.iter().map(|ids| ids.last_window).max();
        let (from, to) = match restart {
            Some(_) => (from, to),
            None => (
                facts.stored.first().map(|ids| ids.first_window + window),
                facts.stored.last().map(|ids| ids.last_window),
            ),
        };
        let again = restart.and_then(|number| facts.stored.get(..number));
        let renumbered_at = again.and_then(|ids| ids.iter().map(|ids| ids.first_window).min());
        Self { holes, accounted: from.zip(to).into_iter().collect(), renumbered_at }
    }

    /// Holes between the ids in hot, and ids beyond them that edges know to be missing.
    fn missing(&self, facts: &StreamFacts, (from, to): TimeRun) -> Vec<MissingEvents> {
        let mut missing = self.holes.clone();
        let bounds = facts.stored.first().zip(facts.stored.last());
        let mut beyond: Vec<(i64, i64, TimeRun)> = Vec::new();
        for gap in facts.edges.values().flat_map(|edge| &edge.gaps) {
            let Some((first, last)) = gap.ids else { continue };
            match bounds {
                None => beyond.push((first, last, gap.at)),
                Some((least, greatest)) => {
                    beyond.push((first, last.min(least.first - 1), gap.at));
                    beyond.push((first.max(greatest.last + 1), last, gap.at));
                }
            }
        }
        beyond.retain(|(first, last, _)| first <= last);
        beyond.sort_unstable();
        // Two edges may miss the same ids: each counts once.
        let mut next = i64::MIN;
        for (first, last, at) in beyond {
            let first = first.max(next);
            if first <= last {
                missing.push(missing_ids(facts, first, last, at));
                next = last.saturating_add(1);
            }
        }
        missing.retain(|missing| missing.at.0 < to && from < missing.at.1);
        missing
    }
}

/// Number of the ids in hot that came after all higher ones: the venue began to number again. An edge that misses the ids between them
/// saw no restart.
fn restart(facts: &StreamFacts) -> Option<usize> {
    let is_restart = |number: &usize| {
        let (lower, higher) = facts.stored.split_at(*number);
        let begin = lower.iter().map(|ids| ids.first_window).min();
        let end = higher.iter().map(|ids| ids.last_window).max();
        let is_later = begin.zip(end).is_some_and(|(begin, end)| begin >= end);
        let (Some(before), Some(after)) = (lower.last(), higher.first()) else { return false };
        let gaps = || facts.edges.values().flat_map(|edge| &edge.gaps).filter_map(|gap| gap.ids);
        is_later
            && before.last_window > after.first_window
            && !gaps().any(|(first, last)| first < after.first && before.last < last)
    };
    (1..facts.stored.len()).find(is_restart)
}

fn missing_ids(facts: &StreamFacts, first: i64, last: i64, at: TimeRun) -> MissingEvents {
    let overlaps =
        |gap: &&GapFact| gap.ids.is_some_and(|(gap_first, gap_last)| gap_first <= last && first <= gap_last);
    let is_killed = |gap: &&GapFact| gap.role == GapRole::Killed && gap.at.0 < at.1 && at.0 < gap.at.1;
    let gaps = || facts.edges.values().flat_map(|edge| &edge.gaps);
    let cause = gaps().find(overlaps).or_else(|| gaps().find(is_killed));
    MissingEvents {
        at,
        count: last.abs_diff(first).saturating_add(1),
        ids: Some((first, last)),
        cause: cause.map_or(UNNOTICED.to_owned(), |gap| gap.cause.clone()),
    }
}
