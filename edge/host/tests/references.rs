//! What an adapter learned from reference answers survives its faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use marketprism_adapter_host::contract::{DataType, Feed, Remark};
use marketprism_adapter_host::fixtures::{EXCHANGE, Kind, component};
use marketprism_adapter_host::{
    Adapter, Engine, FaultPolicy, FrameBatch, Limits, Sandbox, Stats, Supervised,
};

const REFERENCE: u32 = 1;
const OTHER: u32 = 2;

fn start(limits: &Limits, policy: FaultPolicy) -> Supervised {
    let adapter =
        Adapter::from_bytes(&Engine::new(None).unwrap(), &component(Kind::Remembers), limits).unwrap();
    let feed = Feed {
        exchange: EXCHANGE.into(),
        symbols: Vec::new(),
        market_types: Vec::new(),
        data_types: vec![DataType::Trade],
        depth: 1,
        endpoints: Vec::new(),
    };
    let mut first = Sandbox::new(&adapter, &Arc::new(limits.clone()), &Arc::new(Stats::default())).unwrap();
    let instruments = first.instruments(&feed, &[]).unwrap();
    Supervised::start(&adapter, limits, policy, feed, instruments, None).unwrap()
}

/// Gives frames as one batch; gives what the adapter answered to questions.
fn give(adapter: &mut Supervised, frames: &[(&str, u32)]) -> String {
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

// Goal: an instance that replaces another knows the newest answer of a reference poll before its first frame, also when the answer and
// the fault came in one batch; what came from elsewhere it does not know.
// Method: an adapter that says what it knows, before and after traps.
#[test]
fn a_new_instance_knows_the_newest_reference() {
    let mut adapter = start(&Limits::default(), FaultPolicy::default());
    // Questions of one batch point at one place in the fixture's memory, so they stand in batches of their own.
    assert_eq!(give(&mut adapter, &[("?", 0)]), ".");
    assert_eq!(give(&mut adapter, &[("Ra", REFERENCE), ("?", 0)]), "a");
    assert_eq!(give(&mut adapter, &[("!", 0)]), "");
    assert_eq!(give(&mut adapter, &[("?", 0)]), "a");
    assert_eq!(give(&mut adapter, &[("Rb", REFERENCE), ("!", 0), ("?", 0)]), "b");
    assert_eq!(give(&mut adapter, &[("Rc", OTHER), ("?", 0), ("!", 0), ("?", 0)]), "cb");
    let stats = adapter.stats().snapshot();
    assert_eq!((stats.references_dropped, stats.frames_faulted), (0, 3));
}

// Goal: a reference on which new instances fault costs itself and nothing else.
// Method: an answer that is read well, but not as the first frame of an instance.
#[test]
fn a_poisonous_reference_is_forgotten() {
    let mut adapter = start(&Limits::default(), FaultPolicy::default());
    assert_eq!(give(&mut adapter, &[("?", 0)]), ".");
    assert_eq!(give(&mut adapter, &[("RX", REFERENCE), ("?", 0)]), "X");
    assert_eq!(give(&mut adapter, &[("!", 0), ("?", 0)]), ".");
    assert_eq!(adapter.stats().snapshot().references_dropped, 1);
    assert_eq!(give(&mut adapter, &[("Rd", REFERENCE), ("!", 0), ("?", 0)]), "d");
}

// Goal: what is kept is bounded; an answer that does not fit is counted and not kept.
// Method: a bound of four bytes, answers of two bytes and one of five.
#[test]
fn kept_references_are_bounded() {
    let mut adapter = start(&Limits { reference_bytes: 4, ..Limits::default() }, FaultPolicy::default());
    for newest in ["Ra", "Rb", "Rc"] {
        give(&mut adapter, &[(newest, REFERENCE)]);
    }
    assert_eq!(
        give(&mut adapter, &[("!", 0), ("?", 0)]),
        "c",
        "each answer takes the place of the one before"
    );
    assert_eq!(give(&mut adapter, &[("Rbbbb", REFERENCE), ("?", 0), ("!", 0), ("?", 0)]), "b.");
    // The answer came twice: in the batch that faulted, and alone.
    assert_eq!(adapter.stats().snapshot().references_dropped, 1);
}

// Goal: a reference that comes while frames go unseen is not missing afterwards.
// Method: an adapter that backs off after one fault gets its reference meanwhile.
#[test]
fn a_reference_that_came_unseen_is_learned() {
    let back_off = std::time::Duration::from_millis(100);
    let policy = FaultPolicy { consecutive_faults: 1, first_back_off: back_off, ..FaultPolicy::default() };
    let mut adapter = start(&Limits::default(), policy);
    give(&mut adapter, &[("!", 0), ("Re", REFERENCE)]);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let known = give(&mut adapter, &[("?", 0)]);
        if !known.is_empty() {
            assert_eq!(known, "e");
            break;
        }
        assert!(std::time::Instant::now() < until, "the adapter does not come back");
        std::thread::yield_now();
    }
}
