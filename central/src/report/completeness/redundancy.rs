//! Two and more edges of one stream: the windows in which one of them was alone, and the holes that another one filled. Pure.

use std::collections::BTreeMap;

use super::{EdgeFacts, GapRole, StreamFacts, TimeRuns};

/// Windows of each stream, by edge and, for filled holes, by the edge that filled them.
pub type StreamTimes = BTreeMap<(String, Option<String>), Vec<TimeRuns>>;

/// Windows of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redundancy {
    /// Windows that only this edge has whole.
    pub alone: BTreeMap<String, TimeRuns>,
    /// Windows with a hole of the first edge, which the second one has whole.
    pub filled: BTreeMap<(String, String), TimeRuns>,
}

/// Of windows without a final verdict nothing is said.
pub fn redundancy(facts: &StreamFacts) -> Redundancy {
    let mut found = Redundancy::default();
    for (name, edge) in facts.edges.iter().filter(|(_, edge)| edge.is_known) {
        let others = || facts.edges.iter().filter(|(other, edge)| *other != name && edge.is_known);
        if others().next().is_none() {
            continue;
        }
        let (mut alone, holes) = (edge.whole(), edge.holes());
        for (other, by) in others() {
            alone = alone.minus(&by.whole()).minus(&by.open);
            let filled = holes.within(&by.whole());
            if !filled.is_empty() {
                found.filled.insert((name.clone(), other.clone()), filled);
            }
        }
        if !alone.is_empty() {
            found.alone.insert(name.clone(), alone);
        }
    }
    found
}

impl EdgeFacts {
    /// Verified windows with events and without any gap.
    pub(super) fn whole(&self) -> TimeRuns {
        self.storing.minus(&self.touched())
    }

    fn holes(&self) -> TimeRuns {
        let lost = self.gaps.iter().filter(|gap| matches!(gap.role, GapRole::Loss | GapRole::Killed));
        let lost: TimeRuns = lost.map(|gap| gap.at).collect();
        lost.union(&self.unverifiable).union(&self.not_collected)
    }
}

#[cfg(test)]
mod tests {
    use marketprism_schema::Capability;

    use super::super::GapFact;
    use super::*;

    fn runs(of: &[(i64, i64)]) -> TimeRuns {
        of.iter().copied().collect()
    }

    fn edge(storing: &[(i64, i64)], hole: Option<(i64, i64)>) -> EdgeFacts {
        let gap = |at| GapFact { at, role: GapRole::Loss, cause: "network".into(), ids: None, missing: None };
        let (storing, gaps) = (runs(storing), hole.map(gap).into_iter().collect());
        EdgeFacts { is_known: true, verified: storing.clone(), storing, gaps, ..EdgeFacts::default() }
    }

    fn of(edges: &[(&str, EdgeFacts)]) -> Redundancy {
        let edges = edges.iter().map(|(name, edge)| ((*name).to_owned(), edge.clone())).collect();
        redundancy(&StreamFacts { capability: Capability::UNNUMBERED, window: 60, edges, stored: Vec::new() })
    }

    #[test]
    fn a_hole_that_another_edge_has_whole_is_filled_and_that_edge_was_alone() {
        let found = of(&[("e1", edge(&[(0, 600)], Some((120, 180)))), ("e2", edge(&[(0, 600)], None))]);
        assert_eq!(found.filled, BTreeMap::from([(("e1".into(), "e2".into()), runs(&[(120, 180)]))]));
        assert_eq!(found.alone, BTreeMap::from([("e2".into(), runs(&[(120, 180)]))]));
    }

    #[test]
    fn a_hole_of_both_is_filled_by_none_and_an_open_window_is_not_judged() {
        let mut second = edge(&[(0, 540)], Some((120, 240)));
        second.open = runs(&[(540, 600)]);
        let found = of(&[("e1", edge(&[(0, 600)], Some((120, 180)))), ("e2", second)]);
        assert_eq!(found.filled, BTreeMap::from([(("e2".into(), "e1".into()), runs(&[(180, 240)]))]));
        assert_eq!(found.alone, BTreeMap::from([("e1".into(), runs(&[(180, 240)]))]));
    }

    #[test]
    fn a_single_edge_is_not_called_alone() {
        let mut stranger = edge(&[(0, 600)], None);
        stranger.is_known = false;
        assert_eq!(of(&[("e1", edge(&[(0, 600)], None)), ("x", stranger)]), Redundancy::default());
    }
}
