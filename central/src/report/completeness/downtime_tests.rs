//! Known downtime in the rule: what it excuses, and what it does not.

use std::collections::BTreeMap;

use marketprism_schema::{Capability, Completeness, Numbering};

use super::{EdgeFacts, GapFact, GapRole, IdRun, StreamCompleteness, StreamFacts, TimeRun, TimeRuns, judge};

const PERIOD: TimeRun = (0, 600);

fn runs(of: &[TimeRun]) -> TimeRuns {
    of.iter().copied().collect()
}

/// Collects the period but for these windows.
fn stopped(idle: &[TimeRun]) -> EdgeFacts {
    let verified = runs(&[PERIOD]).minus(&runs(idle));
    EdgeFacts {
        is_known: true,
        storing: verified.clone(),
        verified,
        judged: runs(&[PERIOD]),
        not_collected: runs(idle),
        ..EdgeFacts::default()
    }
}

fn judged(numbering: Numbering, edges: &[(&str, EdgeFacts)], stored: &[IdRun]) -> StreamCompleteness {
    let capability = Capability { numbering, completeness: Completeness::Complete, delay_seconds: 0 };
    let edges: BTreeMap<String, EdgeFacts> =
        edges.iter().map(|(name, edge)| ((*name).to_owned(), edge.clone())).collect();
    judge(&StreamFacts { capability, window: 60, edges, stored: stored.to_vec() }, PERIOD)
}

fn ids(first: i64, last: i64, first_window: i64, last_window: i64) -> IdRun {
    IdRun { first, last, first_window, last_window }
}

#[test]
fn ids_that_the_venue_gave_during_a_stop_are_not_collected_and_others_are_missing() {
    let edge = [("e1", stopped(&[(120, 240)]))];
    let stored = [ids(1, 49, 0, 120), ids(70, 90, 180, 360), ids(92, 99, 360, 540)];
    let found = judged(Numbering::ByOne, &edge, &stored);
    assert_eq!(found.paused.iter().map(|events| events.ids).collect::<Vec<_>>(), [Some((50, 69))]);
    assert_eq!(found.missing.iter().map(|events| events.ids).collect::<Vec<_>>(), [Some((91, 91))]);
    assert_eq!(found.not_collected["e1"], runs(&[(120, 240)]));
    assert!(found.unknown_gaps.is_empty() && found.uncovered.is_empty());
}

/// After a kill of the broker an edge sends older events behind the live ones.
#[test]
fn ids_next_to_an_open_window_are_pending_until_it_closes_unless_an_edge_names_them() {
    let stored = [ids(1, 49, 0, 120), ids(70, 90, 180, 540)];
    let mut edge = EdgeFacts { open: runs(&[(180, 240)]), ..stopped(&[]) };
    let found = judged(Numbering::ByOne, &[("e1", edge.clone())], &stored);
    assert_eq!(found.pending.iter().map(|events| events.ids).collect::<Vec<_>>(), [Some((50, 69))]);
    assert!(
        found.missing.is_empty() && !found.is_complete() && found.proven["e1"].within(&edge.open).is_empty()
    );
    let named = Some((50, 69));
    let role = GapRole::Loss;
    edge.gaps =
        vec![GapFact { at: (120, 180), role, cause: "network".into(), ids: named, missing: Some(20) }];
    let found = judged(Numbering::ByOne, &[("e1", edge.clone())], &stored);
    assert_eq!(found.missing.iter().map(|events| events.ids).collect::<Vec<_>>(), [named]);
    edge = EdgeFacts { open: TimeRuns::default(), gaps: Vec::new(), ..edge };
    let found = judged(Numbering::ByOne, &[("e1", edge)], &stored);
    assert_eq!(found.missing.iter().map(|events| events.ids).collect::<Vec<_>>(), [named], "it is closed");
}

#[test]
fn a_stop_without_a_hole_in_the_ids_or_with_another_edge_that_stored_is_whole() {
    let edge = [("e1", stopped(&[(120, 240)]))];
    assert!(judged(Numbering::ByOne, &edge, &[ids(1, 99, 0, 540)]).is_complete(), "the venue was silent");
    let two = [("e1", stopped(&[(120, 240)])), ("e2", stopped(&[]))];
    assert!(judged(Numbering::Unnumbered, &two, &[]).is_complete(), "the other edge collected");
    let both = [("e1", stopped(&[(120, 240)])), ("e2", stopped(&[(180, 300)]))];
    let found = judged(Numbering::Unnumbered, &both, &[]);
    assert_eq!(
        (&found.not_collected["e1"], &found.not_collected["e2"]),
        (&runs(&[(180, 240)]), &runs(&[(180, 240)]))
    );
    assert!(!judged(Numbering::Unnumbered, &edge, &[]).is_complete(), "nothing numbers the events");
}

#[test]
fn ids_that_begin_again_are_named_and_leave_no_hole_and_ids_that_an_edge_missed_do() {
    let edge = EdgeFacts { not_collected: TimeRuns::default(), ..stopped(&[]) };
    let restarted = [ids(1, 40, 180, 540), ids(9_000, 9_100, 0, 180)];
    let found = judged(Numbering::ByOne, &[("e1", edge.clone())], &restarted);
    assert!(found.is_complete() && found.renumbered_at == Some(180), "{found:?}");
    let filled_later = [ids(1, 50, 0, 120), ids(53, 55, 540, 540), ids(61, 90, 120, 180)];
    let found = judged(Numbering::ByOne, &[("e1", edge.clone())], &filled_later);
    assert_eq!(found.missing.iter().map(|events| events.count).collect::<Vec<_>>(), [2, 5]);
    assert_eq!(found.renumbered_at, None);
    let gap = GapFact {
        at: (120, 180),
        role: GapRole::Loss,
        cause: "venue".into(),
        ids: Some((41, 8_999)),
        missing: Some(8_959),
    };
    let noticed = EdgeFacts { gaps: vec![gap], ..edge };
    let found = judged(Numbering::ByOne, &[("e1", noticed)], &restarted);
    assert_eq!(found.missing.len(), 1, "an edge saw them missing: {found:?}");
}

#[test]
fn trades_missing_while_the_edge_was_killed_have_that_cause() {
    let at = (120, 240);
    let gap = GapFact { at, role: GapRole::Killed, cause: "ours".into(), ids: None, missing: None };
    let collected = stopped(&[at]);
    let killed =
        EdgeFacts { unverifiable: runs(&[at]), not_collected: runs(&[]), gaps: vec![gap], ..collected };
    let stored = [ids(1, 49, 0, 120), ids(60, 99, 180, 540)];
    let found = judged(Numbering::ByOne, &[("e1", killed)], &stored);
    let [missing] = found.missing.as_slice() else { panic!("{found:?}") };
    assert_eq!((missing.ids, missing.cause.as_str()), (Some((50, 59)), "ours"));
}
