//! Frames wait while the host denies memory to an adapter's instances; no fault is counted. Alone in its process, whose limit it sets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marketprism_adapter_host::fixtures::{FixtureKind, component};
use marketprism_adapter_host::{
    Adapter, AdapterSupervisor, Engine, FaultCause, FaultPolicy, FrameBatch, FrameFault, Health, Limits,
    LoadError, Quarantine,
};
use marketprism_tests::process::is_alone;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{feed, instruments};

fn limit_addresses(bytes: Option<u64>) {
    setrlimit(Resource::As, Rlimit { current: bytes, ..getrlimit(Resource::As) }).unwrap();
}

/// Addresses that are mapped now and 1 GiB more, too little for an instance.
fn too_little() -> u64 {
    mapped() + (1 << 30)
}

fn mapped() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

fn batch(frames: &[&str]) -> FrameBatch {
    let mut batch = FrameBatch::new();
    for frame in frames {
        batch.push(frame.as_bytes(), 0, 1).unwrap();
    }
    batch
}

#[test]
fn frames_wait_for_a_limit_of_the_host_and_nothing_counts_as_a_fault() {
    if !is_alone("host_limits::frames_wait_for_a_limit_of_the_host_and_nothing_counts_as_a_fault") {
        return;
    }
    let limits = Limits { call_deadline: Duration::from_secs(10), ..Limits::default() };
    let engine = Engine::new(None).unwrap();
    let bytes = component(FixtureKind::Trap);
    let adapter = Adapter::from_bytes(&engine, &bytes, &limits).unwrap();
    let instruments = instruments(&adapter, &limits);
    let folder = tempfile::tempdir().unwrap();
    let quarantine = Arc::new(Quarantine::open(folder.path(), 10, 1 << 20).unwrap());
    let start = |host_wait| {
        let policy = FaultPolicy { host_wait, ..FaultPolicy::default() };
        let (feed, instruments) = (feed(), instruments.clone());
        let quarantine = Some(Arc::clone(&quarantine));
        let mut supervisor =
            AdapterSupervisor::start(&adapter, &limits, policy, feed, instruments, quarantine).unwrap();
        // Leaves the feed without an instance.
        assert_eq!(supervisor.normalize(&batch(&["!"])).faults[0].cause, FaultCause::Trap);
        supervisor
    };

    let mut patient = start(Duration::from_secs(600));
    let before = patient.stats().snapshot();
    let stats = Arc::clone(patient.stats());
    let lifted = std::thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(120);
        while stats.snapshot().host_limits < 3 {
            assert!(Instant::now() < until, "no limit was met");
            std::thread::yield_now();
        }
        limit_addresses(None);
    });
    limit_addresses(Some(too_little()));
    let refused = Adapter::from_bytes(&engine, &bytes, &limits).unwrap_err();
    let outcome = patient.normalize(&batch(&["a", "b"]));
    lifted.join().unwrap();
    assert_eq!((outcome.normalized.notes.len(), outcome.faults), (2, vec![]));
    let after = patient.stats().snapshot();
    assert_eq!((after.faults, after.frames_faulted), (before.faults, before.frames_faulted));
    assert_eq!((after.frames_denied, patient.host_limit()), (0, None));
    let LoadError::Host(limit) = refused else { panic!("{refused}") };
    let text = limit.to_string();
    assert!(text.starts_with("limit of this host, no fault of the adapter: "), "{text}");
    assert!(text.contains("RLIMIT_AS") && text.contains("ulimit -v unlimited"), "{text}");
    drop(patient);

    let mut impatient = start(Duration::ZERO);
    let (before, stored) = (impatient.stats().snapshot(), quarantine.stored());
    limit_addresses(Some(too_little()));
    let outcome = impatient.normalize(&batch(&["a", "b"]));
    let lost = |frame: u32| FrameFault { frame: frame.into(), cause: FaultCause::HostLimit, skipped: true };
    assert_eq!(outcome.faults, [lost(0), lost(1)]);
    let after = impatient.stats().snapshot();
    assert_eq!(
        (after.faults, after.frames_faulted, after.frames_denied),
        (before.faults, before.frames_faulted, 2)
    );
    assert_eq!(
        (quarantine.stored(), impatient.health()),
        (stored, Health::Faulting { consecutive: 1 }),
        "as before"
    );
    assert!(impatient.host_limit().unwrap().contains("RLIMIT_AS"));
    limit_addresses(None);
    assert_eq!(impatient.normalize(&batch(&["a"])).faults, []);
    a_thread_that_does_not_start_is_named();
}

fn a_thread_that_does_not_start_is_named() {
    // Too little for the stack of one more thread.
    limit_addresses(Some(mapped() + (1 << 20)));
    let refused = Engine::new(None).err();
    limit_addresses(None);
    let text = refused.unwrap().to_string();
    assert!(text.contains("starts no further thread") && text.contains("RLIMIT_NPROC"), "{text}");
}
