//! Reference answers survive the faults of an adapter.

use marketprism_adapter_host::contract::Remark;
use marketprism_adapter_host::fixtures::{FixtureKind, component};
use marketprism_adapter_host::{Adapter, AdapterSupervisor, FaultPolicy, FrameBatch, Limits};

use crate::{engine, feed, instruments};

const REFERENCE: u32 = 1;
const OTHER: u32 = 2;

fn start(limits: &Limits, policy: FaultPolicy) -> AdapterSupervisor {
    let adapter = Adapter::from_bytes(engine(), &component(FixtureKind::Remembers), limits).unwrap();
    let instruments = instruments(&adapter, limits);
    AdapterSupervisor::start(&adapter, limits, policy, feed(), instruments, None).unwrap()
}

/// Normalizes frames as one batch and returns the replies.
fn replies(adapter: &mut AdapterSupervisor, frames: &[(&str, u32)]) -> String {
    let mut batch = FrameBatch::new();
    for (frame, source) in frames {
        batch.push(frame.as_bytes(), *source, 1).unwrap();
    }
    let outcome = adapter.normalize(&batch);
    let replies = outcome.normalized.notes.into_iter().filter_map(|note| match note.remark {
        Remark::Reply(text) => Some(text),
        _ => None,
    });
    replies.collect()
}

#[test]
fn a_new_instance_knows_the_newest_reference() {
    let mut adapter = start(&Limits::default(), FaultPolicy::default());
    // Questions of one batch point at one place in the fixture's memory, so each gets its own batch.
    assert_eq!(replies(&mut adapter, &[("?", 0)]), ".");
    assert_eq!(replies(&mut adapter, &[("Ra", REFERENCE), ("?", 0)]), "a");
    assert_eq!(replies(&mut adapter, &[("!", 0)]), "");
    assert_eq!(replies(&mut adapter, &[("?", 0)]), "a");
    assert_eq!(replies(&mut adapter, &[("Rb", REFERENCE), ("!", 0), ("?", 0)]), "b");
    assert_eq!(replies(&mut adapter, &[("Rc", OTHER), ("?", 0), ("!", 0), ("?", 0)]), "cb");
    let stats = adapter.stats().snapshot();
    assert_eq!((stats.references_dropped, stats.frames_faulted), (0, 3));
}

#[test]
fn a_poisonous_reference_is_forgotten() {
    let mut adapter = start(&Limits::default(), FaultPolicy::default());
    assert_eq!(replies(&mut adapter, &[("?", 0)]), ".");
    assert_eq!(replies(&mut adapter, &[("RX", REFERENCE), ("?", 0)]), "X");
    assert_eq!(replies(&mut adapter, &[("!", 0), ("?", 0)]), ".");
    assert_eq!(adapter.stats().snapshot().references_dropped, 1);
    assert_eq!(replies(&mut adapter, &[("Rd", REFERENCE), ("!", 0), ("?", 0)]), "d");
}

#[test]
fn kept_references_are_bounded() {
    let mut adapter = start(&Limits { reference_bytes: 4, ..Limits::default() }, FaultPolicy::default());
    for newest in ["Ra", "Rb", "Rc"] {
        replies(&mut adapter, &[(newest, REFERENCE)]);
    }
    assert_eq!(replies(&mut adapter, &[("!", 0), ("?", 0)]), "c", "each answer replaces the one before");
    assert_eq!(replies(&mut adapter, &[("Rbbbb", REFERENCE), ("?", 0), ("!", 0), ("?", 0)]), "b.");
    // The answer came twice: in the batch that faulted, and alone.
    assert_eq!(adapter.stats().snapshot().references_dropped, 1);
}

#[test]
fn a_reference_that_came_unseen_is_learned() {
    let back_off = std::time::Duration::from_millis(100);
    let policy = FaultPolicy { consecutive_faults: 1, first_back_off: back_off, ..FaultPolicy::default() };
    let mut adapter = start(&Limits::default(), policy);
    replies(&mut adapter, &[("!", 0), ("Re", REFERENCE)]);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let known = replies(&mut adapter, &[("?", 0)]);
        if !known.is_empty() {
            assert_eq!(known, "e");
            break;
        }
        assert!(std::time::Instant::now() < until, "the adapter does not come back");
        std::thread::yield_now();
    }
}
