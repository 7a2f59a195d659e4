//! Changes of an adapter's version between two batches.

use std::collections::BTreeSet;
use std::time::Duration;

use marketprism_adapter_host::contract::{Ignored, Remark};
use marketprism_adapter_host::fixtures::{FixtureKind, component};
use marketprism_adapter_host::{
    Adapter, AdapterSupervisor, FaultPolicy, FrameBatch, Limits, NormalizedBatch, Successor, SuccessorError,
    with_custom_section,
};

use crate::{engine, feed, instruments};

/// Calls of a busy machine are not cut off.
fn limits() -> Limits {
    Limits { call_deadline: Duration::from_secs(1), ..Limits::default() }
}

/// Versions of one fixture differ by a section.
fn version(kind: FixtureKind, number: u8) -> Adapter {
    let bytes = with_custom_section(&component(kind), "version", &[number]);
    Adapter::from_bytes(engine(), &bytes, &limits()).unwrap()
}

fn start(kind: FixtureKind) -> AdapterSupervisor {
    let (adapter, limits) = (version(kind, 1), limits());
    let instruments = instruments(&adapter, &limits);
    AdapterSupervisor::start(&adapter, &limits, FaultPolicy::default(), feed(), instruments, None).unwrap()
}

fn successor(supervisor: &AdapterSupervisor, kind: FixtureKind) -> Result<Successor, SuccessorError> {
    supervisor.seed().prepare(&version(kind, 2))
}

fn given(supervisor: &mut AdapterSupervisor, frames: &[&str], source: u32) -> NormalizedBatch {
    let mut batch = FrameBatch::new();
    frames.iter().for_each(|frame| batch.push(frame.as_bytes(), source, 1).unwrap());
    supervisor.normalize(&batch)
}

fn noted(result: &NormalizedBatch) -> usize {
    let is_noted = |remark: &Remark| *remark == Remark::Ignored(Ignored::Status);
    result.normalized.notes.iter().filter(|note| is_noted(&note.remark)).count()
}

#[test]
fn a_version_of_equal_output_takes_over_between_two_batches() {
    let mut supervisor = start(FixtureKind::WellBehaved);
    let new = successor(&supervisor, FixtureKind::WellBehaved).unwrap();
    let shadow = supervisor.begin_shadow(new, BTreeSet::new()).unwrap();
    assert_eq!(noted(&given(&mut supervisor, &["a", "!b"], 0)), 2);
    assert_eq!((shadow.report().frames, shadow.report().differences.len()), (2, 0));
    let (old, new) = (version(FixtureKind::WellBehaved, 1), version(FixtureKind::WellBehaved, 2));
    assert_eq!((supervisor.versions(), supervisor.adapter().digest()), (0, old.digest()));
    let probation = supervisor.switch().unwrap();
    assert_eq!((supervisor.versions(), supervisor.adapter().digest()), (1, new.digest()));
    assert_eq!(noted(&given(&mut supervisor, &["c", "d", "e"], 0)), 3);
    assert_eq!((probation.report().frames, probation.report().failure), (3, None));
    supervisor.end_trial();
    assert_eq!(noted(&given(&mut supervisor, &["f"], 0)), 1);
    assert_eq!((probation.report().frames, supervisor.adapter().digest()), (3, new.digest()));
    // The shadow's frames and those of the earlier version on probation count for neither.
    assert_eq!(supervisor.stats().snapshot().frames, 2 + 3 + 1);
    assert!(supervisor.replace(supervisor.seed().prepare(&old).unwrap()));
    assert_eq!((supervisor.versions(), supervisor.adapter().digest()), (2, old.digest()));
}

#[test]
fn a_version_that_faults_in_the_shadow_is_dropped_and_never_published() {
    let mut supervisor = start(FixtureKind::WellBehaved);
    let new = successor(&supervisor, FixtureKind::Trap).unwrap();
    let shadow = supervisor.begin_shadow(new, BTreeSet::new()).unwrap();
    assert_eq!(noted(&given(&mut supervisor, &["a", "!b", "c"], 0)), 3);
    assert!(shadow.report().failure.unwrap().starts_with("adapter fault trap"));
    assert!(supervisor.switch().is_none());
    assert_eq!((supervisor.versions(), supervisor.stats().snapshot().all_faults()), (0, 0));
}

#[test]
fn a_version_that_faults_on_probation_costs_no_frame() {
    for kind in [FixtureKind::Trap, FixtureKind::MemoryBomb, FixtureKind::Silent, FixtureKind::Loop] {
        let mut supervisor = start(FixtureKind::WellBehaved);
        let new = successor(&supervisor, kind).unwrap();
        supervisor.begin_shadow(new, BTreeSet::new()).unwrap();
        given(&mut supervisor, &["a"], 0);
        let probation = supervisor.switch().unwrap();
        assert_eq!(noted(&given(&mut supervisor, &["b"], 0)), 1, "{kind:?}");
        let result = given(&mut supervisor, &["c", "!d", "e"], 0);
        assert_eq!((noted(&result), result.faults), (3, vec![]), "{kind:?}");
        assert!(probation.report().failure.unwrap().starts_with("adapter fault"), "{kind:?}");
        let old = version(FixtureKind::WellBehaved, 1);
        assert_eq!((supervisor.versions(), supervisor.adapter().digest()), (2, old.digest()), "{kind:?}");
        assert_eq!(noted(&given(&mut supervisor, &["!f"], 0)), 1, "{kind:?}");
    }
}

#[test]
fn another_plan_is_refused_with_the_difference() {
    let supervisor = start(FixtureKind::WellBehaved);
    let error = successor(&supervisor, FixtureKind::Remembers).err().unwrap().to_string();
    assert_eq!(error, "plan differs from that of the running feed: 2 polls, running are 0");
}

/// Source of the fixture's reference poll.
const REFERENCE: u32 = 1;

#[test]
fn a_new_version_knows_the_newest_reference_answers_or_does_not_begin() {
    let mut supervisor = start(FixtureKind::Remembers);
    let reply = |result: &NormalizedBatch| format!("{:?}", result.normalized.notes[0].remark);
    given(&mut supervisor, &["Ra"], REFERENCE);
    let stale = successor(&supervisor, FixtureKind::Remembers).unwrap();
    given(&mut supervisor, &["Rb"], REFERENCE);
    assert!(supervisor.begin_shadow(stale, BTreeSet::new()).is_none());
    let new = successor(&supervisor, FixtureKind::Remembers).unwrap();
    let shadow = supervisor.begin_shadow(new, BTreeSet::new()).unwrap();
    assert!(reply(&given(&mut supervisor, &["?"], 0)).contains("\"b\""));
    assert_eq!(shadow.report().differences.len(), 0);
    supervisor.switch().unwrap();
    supervisor.end_trial();
    assert!(reply(&given(&mut supervisor, &["?"], 0)).contains("\"b\""));
}
