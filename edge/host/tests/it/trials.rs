//! Changes of an adapter's version between two batches.

use std::collections::BTreeSet;
use std::time::Duration;

use marketprism_adapter_host::contract::{Ignored, Remark};
use marketprism_adapter_host::fixtures::{FixtureKind, component, load_with_next_contract};
use marketprism_adapter_host::{
    Adapter, AdapterSupervisor, FaultPolicy, FrameBatch, Limits, NormalizedBatch, Successor, SuccessorError,
    with_custom_section,
};

use crate::{engine, feed, instruments};

/// No call of a busy machine is cut off.
fn limits() -> Limits {
    Limits { call_deadline: Duration::from_secs(10), ..Limits::default() }
}

/// Versions of one fixture differ by a section.
fn version(kind: FixtureKind, number: u8) -> Adapter {
    let bytes = with_custom_section(&component(kind), "version", &[number]);
    Adapter::from_bytes(engine(), &bytes, &limits()).unwrap()
}

fn start(kind: FixtureKind) -> AdapterSupervisor {
    start_within(kind, limits())
}

fn start_within(kind: FixtureKind, limits: Limits) -> AdapterSupervisor {
    let adapter = version(kind, 1);
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
    for kind in [FixtureKind::Trap, FixtureKind::MemoryBomb, FixtureKind::Silent] {
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

/// A stopped machine makes any version miss a deadline; one that misses more than the earlier one is worse.
#[test]
fn one_missed_deadline_costs_no_frame_and_changes_nothing_and_more_of_them_do() {
    // Short only where it must pass.
    let limits = Limits { call_deadline: Duration::from_millis(600), ..limits() };
    let mut supervisor = start_within(FixtureKind::WellBehaved, limits);
    let new = successor(&supervisor, FixtureKind::Loop).unwrap();
    let shadow = supervisor.begin_shadow(new, BTreeSet::new()).unwrap();
    assert_eq!(noted(&given(&mut supervisor, &["a"], 0)), 1);
    let probation = supervisor.switch().unwrap();
    // The batch misses its deadline, then the frame alone.
    let result = given(&mut supervisor, &["b", "!c", "d"], 0);
    assert_eq!((noted(&result), result.faults), (3, vec![]));
    assert_eq!((probation.report().failure, shadow.report().failure), (None, None));
    assert_eq!(supervisor.versions(), 1);
    // A stop of this machine in a call of the earlier version gives the new one another.
    for _ in 0..10 {
        if supervisor.versions() == 2 {
            break;
        }
        let result = given(&mut supervisor, &["e", "!f"], 0);
        assert_eq!((noted(&result), result.faults), (2, vec![]));
    }
    let failure = probation.report().failure.unwrap();
    assert!(failure.starts_with("adapter fault deadline: missed "), "{failure}");
}

#[test]
fn a_frame_on_which_both_versions_fault_blames_neither_and_is_lost_once() {
    let mut supervisor = start(FixtureKind::Trap);
    let new = successor(&supervisor, FixtureKind::Trap).unwrap();
    let mut monitor = supervisor.begin_shadow(new, BTreeSet::new()).unwrap();
    for versions in [0, 1] {
        for frames in [&["a", "!b", "c"][..], &["!d"], &["e", "f"]] {
            let result = given(&mut supervisor, frames, 0);
            let marked = frames.iter().filter(|frame| frame.starts_with('!')).count();
            assert_eq!((noted(&result), result.faults.len()), (frames.len() - marked, marked));
        }
        let report = monitor.report();
        assert_eq!((report.failure, report.differences.len(), report.frames), (None, 0, 4));
        let lost = supervisor.stats().snapshot().frames_faulted;
        assert_eq!((supervisor.versions(), lost), (versions, 2 * (versions + 1)));
        monitor = supervisor.switch().unwrap();
    }
}

/// A fault of the earlier version in the same batch does not hide one of the new version.
#[test]
fn a_frame_on_which_only_the_new_version_faults_ends_the_trial_in_a_batch_on_which_both_do() {
    let mut supervisor = start(FixtureKind::Trap);
    let well_behaved = successor(&supervisor, FixtureKind::WellBehaved).unwrap();
    let monitor = supervisor.begin_shadow(well_behaved, BTreeSet::new()).unwrap();
    let result = given(&mut supervisor, &["a", "!b"], 0);
    assert_eq!((noted(&result), result.faults.len()), (1, 1), "the running version alone is published");
    assert_eq!((monitor.report().failure, monitor.report().frames), (None, 1));
    let probation = supervisor.switch().unwrap();
    let result = given(&mut supervisor, &["c", "!d", "e"], 0);
    assert_eq!((noted(&result), result.faults), (3, vec![]), "only the earlier version faults");
    assert_eq!(probation.report().failure, None);
    supervisor.roll_back();
    let memory = successor(&supervisor, FixtureKind::Silent).unwrap();
    supervisor.begin_shadow(memory, BTreeSet::new()).unwrap();
    supervisor.switch().unwrap();
    let result = given(&mut supervisor, &["!f", "g"], 0);
    assert_eq!((noted(&result), result.faults.len(), supervisor.versions()), (1, 1, 3), "both fault on it");
}

#[test]
fn a_part_that_begins_with_the_new_version_is_on_probation_too() {
    let mut supervisor = start(FixtureKind::Trap);
    let earlier = successor(&supervisor, FixtureKind::WellBehaved).unwrap();
    let probation = supervisor.begin_probation(earlier, BTreeSet::new()).unwrap();
    assert_eq!((noted(&given(&mut supervisor, &["a"], 0)), supervisor.versions()), (1, 0));
    let result = given(&mut supervisor, &["b", "!c", "d"], 0);
    assert_eq!((noted(&result), result.faults), (3, vec![]));
    assert!(probation.report().failure.unwrap().starts_with("adapter fault trap"));
    let earlier = version(FixtureKind::WellBehaved, 2);
    assert_eq!((supervisor.versions(), supervisor.adapter().digest()), (1, earlier.digest()));
}

#[test]
fn two_contract_versions_run_side_by_side_and_take_over_from_each_other() {
    let bytes = component(FixtureKind::NextContract);
    let refused = Adapter::from_bytes(engine(), &bytes, &limits()).unwrap_err().to_string();
    assert!(refused.starts_with("adapter targets contract 2.0.0, this edge supports 1.x"), "{refused}");
    let next = load_with_next_contract(engine(), &bytes, &limits()).unwrap();
    assert_eq!(next.contract(), "2.0.0");

    let mut supervisor = start(FixtureKind::WellBehaved);
    let new = supervisor.seed().prepare(&next).unwrap();
    let shadow = supervisor.begin_shadow(new, BTreeSet::new()).unwrap();
    assert_eq!(noted(&given(&mut supervisor, &["a", "b"], 0)), 2);
    assert_eq!((shadow.report().frames, shadow.report().differences.len()), (2, 0));
    let probation = supervisor.switch().unwrap();
    assert_eq!((noted(&given(&mut supervisor, &["c"], 0)), supervisor.adapter().contract()), (1, "2.0.0"));
    assert_eq!((probation.report().frames, probation.report().failure), (1, None));
    supervisor.roll_back();
    assert_eq!((noted(&given(&mut supervisor, &["d"], 0)), supervisor.adapter().contract()), (1, "1.0.0"));
    assert!(supervisor.replace(supervisor.seed().prepare(&next).unwrap()));
    assert_eq!((noted(&given(&mut supervisor, &["e"], 0)), supervisor.adapter().contract()), (1, "2.0.0"));
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
