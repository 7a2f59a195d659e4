//! A misbehaving adapter harms nothing but itself; its reference answers survive its faults.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marketprism_adapter_host::contract::{Ignored, Note, Remark};
use marketprism_adapter_host::fixtures::{DEFAULT_URL, EXCHANGE, FixtureKind, PAGE_URL, component};
use marketprism_adapter_host::{
    Adapter, AdapterSupervisor, CallError, FaultCause, FaultPolicy, FrameBatch, FrameFault, Health,
    InstrumentRounds, Limits, LoadError, NormalizedBatch, Quarantine,
};

use crate::{engine, feed, instruments, sandbox};

/// Deadlines for many tests on a busy machine; little memory, so that refusals come soon.
fn limits() -> Limits {
    Limits {
        call_deadline: Duration::from_secs(10),
        control_deadline: Duration::from_secs(10),
        memory_bytes: 16 << 20,
        ..Limits::default()
    }
}

/// Only what runs into the deadline has a short one.
fn limits_of(kind: FixtureKind) -> Limits {
    match kind {
        FixtureKind::Loop => Limits { call_deadline: Duration::from_millis(500), ..limits() },
        FixtureKind::DescribeLoop | FixtureKind::StartLoop => {
            Limits { control_deadline: Duration::from_millis(50), ..limits() }
        }
        _ => limits(),
    }
}

fn load(kind: FixtureKind) -> Result<Adapter, LoadError> {
    Adapter::from_bytes(engine(), &component(kind), &limits())
}

fn start(kind: FixtureKind, policy: FaultPolicy, quarantine: Option<Arc<Quarantine>>) -> AdapterSupervisor {
    let adapter = load(kind).unwrap();
    let instruments = instruments(&adapter, &limits());
    let mut feed = feed();
    if kind == FixtureKind::FollowUpForever {
        // Its endpoint is that of its poll, not of a socket.
        feed.endpoints.clear();
    }
    AdapterSupervisor::start(&adapter, &limits_of(kind), policy, feed, instruments, quarantine).unwrap()
}

fn batch(frames: &[&str]) -> FrameBatch {
    let mut batch = FrameBatch::new();
    for (i, frame) in frames.iter().enumerate() {
        batch.push(frame.as_bytes(), 0, 1_700_000_000_000_000_000 + i as i64).unwrap();
    }
    batch
}

fn noted(outcome: &NormalizedBatch) -> Vec<u32> {
    let ignored = Remark::Ignored(Ignored::Status);
    assert!(outcome.normalized.notes.iter().all(|note| note.remark == ignored), "{outcome:?}");
    outcome.normalized.notes.iter().map(|note| note.frame).collect()
}

const FAULTS: [(FixtureKind, FaultCause); 16] = [
    (FixtureKind::Trap, FaultCause::Trap),
    (FixtureKind::Loop, FaultCause::Deadline),
    (FixtureKind::MemoryBomb, FaultCause::Memory),
    (FixtureKind::Recursion, FaultCause::StackOverflow),
    (FixtureKind::HugeList, FaultCause::InvalidOutput),
    (FixtureKind::AliasedText, FaultCause::InvalidOutput),
    (FixtureKind::ManyNotes, FaultCause::InvalidOutput),
    (FixtureKind::OutOfBounds, FaultCause::InvalidOutput),
    (FixtureKind::BadCase, FaultCause::InvalidOutput),
    (FixtureKind::BadText, FaultCause::InvalidOutput),
    (FixtureKind::LongText, FaultCause::InvalidOutput),
    (FixtureKind::WrongFrame, FaultCause::InvalidOutput),
    (FixtureKind::Silent, FaultCause::InvalidOutput),
    (FixtureKind::WrongInstrument, FaultCause::InvalidOutput),
    (FixtureKind::WrongLevels, FaultCause::InvalidOutput),
    (FixtureKind::FollowUpFlood, FaultCause::InvalidOutput),
];

#[test]
fn a_well_behaved_adapter_works() {
    let mut adapter = start(FixtureKind::WellBehaved, FaultPolicy::default(), None);
    let id = adapter.adapter().id().to_owned();
    assert!(id.starts_with("sim-hostile@1.0.0+") && id.len() == "sim-hostile@1.0.0+".len() + 12, "{id}");
    assert!(adapter.adapter().digest().starts_with(&id[id.len() - 12..]));
    assert_eq!(adapter.adapter().venue(EXCHANGE).unwrap().endpoints[0].default_url, DEFAULT_URL);
    assert_eq!(adapter.plan().connections[0].url, "ws://127.0.0.1:9/sim");
    assert_eq!(adapter.instruments()[0].symbol, "BTC-USDT");
    let outcome = adapter.normalize(&batch(&["a", "!b", "", "d"]));
    assert_eq!((noted(&outcome), outcome.faults), (vec![0, 1, 2, 3], vec![]));
    let stats = adapter.stats().snapshot();
    assert_eq!((stats.frames, stats.notes, stats.all_faults(), stats.restarts), (4, 4, 0, 0));
    assert!(stats.memory_high_water_bytes >= 16 * 65_536);
    assert_eq!(adapter.health(), Health::Healthy);
}

#[test]
fn good_frames_continue_around_a_bad_one() {
    for (kind, cause) in FAULTS {
        let dir = tempfile::tempdir().unwrap();
        let quarantine = Arc::new(Quarantine::open(dir.path(), 10, 1 << 20).unwrap());
        let mut adapter = start(kind, FaultPolicy::default(), Some(Arc::clone(&quarantine)));
        let outcome = adapter.normalize(&batch(&["a", "b", "!c", "d", "e"]));
        assert_eq!(noted(&outcome), [0, 1, 3, 4], "{kind:?}");
        assert_eq!(outcome.faults, [FrameFault { frame: 2.into(), cause, skipped: false }], "{kind:?}");
        assert_eq!(adapter.health(), Health::Healthy, "{kind:?}");
        let outcome = adapter.normalize(&batch(&["f"]));
        assert_eq!((noted(&outcome), outcome.faults), (vec![0], vec![]), "{kind:?}");
        let stats = adapter.stats().snapshot();
        // Once in the batch, once alone; a new instance after each.
        assert_eq!((stats.faults[cause], stats.all_faults(), stats.restarts), (2, 2, 2), "{kind:?}");
        assert_eq!((stats.frames_faulted, stats.frames_unseen), (1, 0), "{kind:?}");
        assert!(stats.memory_high_water_bytes <= 16 << 20, "{kind:?}");
        let files: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{kind:?}");
        let name = files[0].file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(&format!("1700000000000000002-{}-", cause.as_str())), "{name}");
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
        assert_eq!(
            (&record["data"], &record["kind"], &record["conn"]),
            (&"!c".into(), &"ws-in".into(), &0.into())
        );
        assert_eq!((&record["url"], &record["exchange"]), (&"ws://127.0.0.1:9/sim".into(), &EXCHANGE.into()));
    }
}

/// 64 frames, each with the largest result, would be 64 times the bound of a call.
#[test]
fn results_of_repeated_frames_are_bounded_together() {
    let limits = Limits { result_bytes: 12 * size_of::<Note>(), ..limits() };
    let adapter = load(FixtureKind::Trap).unwrap();
    let instruments = instruments(&adapter, &limits);
    let mut adapter =
        AdapterSupervisor::start(&adapter, &limits, FaultPolicy::default(), feed(), instruments, None)
            .unwrap();
    let frames: Vec<&str> = (0..40).map(|number| if number == 39 { "!" } else { "a" }).collect();
    let outcome = adapter.normalize(&batch(&frames));
    assert_eq!(noted(&outcome), (0..12).collect::<Vec<_>>());
    assert_eq!(outcome.faults.len(), 28, "frames beyond are lost, and named");
}

#[test]
fn an_adapter_that_always_faults_backs_off() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = Arc::new(Quarantine::open(dir.path(), 1_000, 1 << 20).unwrap());
    // Longer than a busy machine needs to ask for the state in it.
    let back_off = Duration::from_secs(2);
    let policy = FaultPolicy { consecutive_faults: 3, first_back_off: back_off, ..FaultPolicy::default() };
    let mut adapter = start(FixtureKind::Loop, policy, Some(Arc::clone(&quarantine)));
    let frames: Vec<String> = (0..20).map(|i| format!("!{i}")).collect();
    let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
    let began = Instant::now();
    let outcome = adapter.normalize(&batch(&frames));
    // Four deadlines of 500 ms, as the three frames that were not skipped prove; the time is that of a busy machine.
    assert!(began.elapsed() < Duration::from_secs(60), "took {:?}", began.elapsed());
    assert_eq!(outcome.faults.len(), 20);
    assert_eq!(outcome.faults.iter().filter(|fault| !fault.skipped).count(), 3);
    let Health::BackingOff { until } = adapter.health() else {
        panic!("health is {:?}", adapter.health());
    };
    let outcome = adapter.normalize(&batch(&["good"]));
    assert!(Instant::now() >= until || outcome.faults[0].skipped);
    let stats = adapter.stats().snapshot();
    assert_eq!((stats.frames_faulted, stats.frames_unseen), (3, 17 + outcome.faults.len() as u64));
    assert_eq!(quarantine.stored(), 20 + outcome.faults.len() as u64);
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    let outcome = adapter.normalize(&batch(&["good", "also good"]));
    assert_eq!((noted(&outcome), outcome.faults), (vec![0, 1], vec![]));
    assert_eq!(adapter.health(), Health::Healthy);
}

#[test]
fn a_log_flood_is_limited() {
    let adapter = load(FixtureKind::LogFlood).unwrap();
    let instruments = instruments(&adapter, &limits());
    let mut adapter =
        AdapterSupervisor::start(&adapter, &limits(), FaultPolicy::default(), feed(), instruments, None)
            .unwrap();
    let outcome = adapter.normalize(&batch(&["!"]));
    assert_eq!((noted(&outcome), outcome.faults), (vec![0], vec![]));
    let stats = adapter.stats().snapshot();
    assert_eq!(stats.log_lines + stats.log_dropped_lines, 100_000);
    assert!(stats.log_lines <= 20 * 11, "{} lines", stats.log_lines);
}

#[test]
fn wrong_files_are_refused_by_name() {
    let refusal = |kind| load(kind).err().map(|error| error.to_string()).unwrap_or_default();
    let supports = "this edge supports 1.x (written against 1.0.0)";
    assert_eq!(
        refusal(FixtureKind::Contract("2.0.0")),
        format!("adapter targets contract 2.0.0, {supports}")
    );
    assert_eq!(
        refusal(FixtureKind::Contract("0.9.0")),
        format!("adapter targets contract 0.9.0, {supports}")
    );
    assert_eq!(load(FixtureKind::Contract("1.1.0")).unwrap().contract(), "1.1.0");
    let types = refusal(FixtureKind::OtherTypes);
    assert!(
        types.starts_with(&format!("adapter targets contract 1.0.0, {supports}, and the types differ")),
        "{types}"
    );
    assert_eq!(
        refusal(FixtureKind::UndeclaredImport),
        "adapter imports sim:host/clock@1.0.0, allowed is only marketprism:adapter/log"
    );
    assert_eq!(
        refusal(FixtureKind::OtherWorld),
        "component exports no marketprism:adapter/adapter, it exports nothing"
    );
    assert!(matches!(load(FixtureKind::CoreModule), Err(LoadError::CoreModule)));
    let good = component(FixtureKind::WellBehaved);
    for garbage in [&b""[..], b"\0asm", b"{\"not\": \"wasm\"}", &good[..good.len() / 2]] {
        let refused = Adapter::from_bytes(engine(), garbage, &limits());
        assert!(matches!(refused, Err(LoadError::NotAComponent(_))), "{refused:?}");
    }
    let missing = Adapter::load(engine(), std::path::Path::new("no/such.wasm"), &limits()).unwrap_err();
    assert!(missing.to_string().starts_with("adapter no/such.wasm cannot be read"), "{missing}");
}

#[test]
fn misbehaviour_at_load_is_refused() {
    let cases = [
        (FixtureKind::DescribeLoop, FaultCause::Deadline),
        (FixtureKind::StartLoop, FaultCause::Deadline),
        (FixtureKind::LargeAtStart, FaultCause::Memory),
    ];
    for (kind, cause) in cases {
        match Adapter::from_bytes(engine(), &component(kind), &limits_of(kind)) {
            Err(LoadError::Describe(fault)) => assert_eq!(fault.cause, cause, "{kind:?}: {fault}"),
            other => panic!("{kind:?}: {other:?}"),
        }
    }
    let adapter = load(FixtureKind::BadPlan).unwrap();
    let instruments = instruments(&adapter, &limits());
    let started =
        AdapterSupervisor::start(&adapter, &limits(), FaultPolicy::default(), feed(), instruments, None);
    match started.err() {
        Some(CallError::Fault(fault)) => {
            assert_eq!(fault.cause, FaultCause::InvalidOutput);
            assert_eq!(fault.detail, "instrument of a stream of connection main is 7, allowed is below 1");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn endless_instrument_requests_are_refused() {
    let limits = limits();
    let rounds = |kind| {
        let mut sandbox = sandbox(&load(kind).unwrap(), &limits);
        let mut rounds = InstrumentRounds::new(&limits);
        for _ in 0..=limits.instrument_rounds {
            let requests = rounds.next(&mut sandbox, &feed())?;
            if requests.is_empty() {
                break;
            }
            assert_eq!(requests[0].url, PAGE_URL);
            rounds.answer(0, b"page".to_vec())?;
        }
        Ok::<_, CallError>(rounds.answers().len())
    };
    assert_eq!(rounds(FixtureKind::WellBehaved), Ok(0));
    let error = rounds(FixtureKind::RequestLoop).unwrap_err().to_string();
    assert!(error.contains("rounds of instrument requests are 101 and more, allowed are 100"), "{error}");
}

#[test]
fn a_follow_up_is_passed_on() {
    let mut adapter = start(FixtureKind::FollowUpForever, FaultPolicy::default(), None);
    let outcome = adapter.normalize(&batch(&["a", "!page", "c"]));
    assert!(outcome.faults.is_empty(), "{outcome:?}");
    let Remark::FollowUp(page) = &outcome.normalized.notes[1].remark else {
        panic!("{outcome:?}");
    };
    assert_eq!((page.url.as_str(), page.timeout_ms, outcome.normalized.notes[1].frame), (PAGE_URL, 1_000, 1));
}

#[test]
fn a_faulted_instance_stays_closed() {
    for kind in [FixtureKind::Trap, FixtureKind::Silent] {
        let adapter = load(kind).unwrap();
        let mut sandbox = sandbox(&adapter, &limits());
        let instruments = sandbox.instruments(&feed(), &[]).unwrap();
        sandbox.load(&feed(), &instruments).unwrap();
        assert_eq!(sandbox.normalize(&batch(&["a"])).unwrap().notes.len(), 1);
        sandbox.normalize(&batch(&["!"])).unwrap_err();
        assert_eq!(sandbox.normalize(&batch(&["a"])).unwrap_err().cause, FaultCause::Reload);
    }
}

#[test]
fn positions_survive_the_repeat() {
    let mut adapter = start(FixtureKind::Trap, FaultPolicy::default(), None);
    let outcome = adapter.normalize(&batch(&["!", "b", "!", "d", "!", "f", "!"]));
    assert_eq!(noted(&outcome), [1, 3, 5]);
    assert_eq!(outcome.faults.iter().map(|fault| u32::from(fault.frame)).collect::<Vec<_>>(), [0, 2, 4, 6]);
    let expected = Note { frame: 1, remark: Remark::Ignored(Ignored::Status) };
    assert_eq!(outcome.normalized.notes[0], expected);
}

const REFERENCE: u32 = 1;
const OTHER: u32 = 2;

fn start_remembering(limits: &Limits, policy: FaultPolicy) -> AdapterSupervisor {
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
    let mut adapter = start_remembering(&limits(), FaultPolicy::default());
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
    let mut adapter = start_remembering(&limits(), FaultPolicy::default());
    assert_eq!(replies(&mut adapter, &[("?", 0)]), ".");
    assert_eq!(replies(&mut adapter, &[("RX", REFERENCE), ("?", 0)]), "X");
    assert_eq!(replies(&mut adapter, &[("!", 0), ("?", 0)]), ".");
    assert_eq!(adapter.stats().snapshot().references_dropped, 1);
    assert_eq!(replies(&mut adapter, &[("Rd", REFERENCE), ("!", 0), ("?", 0)]), "d");
}

#[test]
fn kept_references_are_bounded() {
    let mut adapter = start_remembering(&Limits { reference_bytes: 4, ..limits() }, FaultPolicy::default());
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
    let mut adapter = start_remembering(&limits(), policy);
    replies(&mut adapter, &[("!", 0), ("Re", REFERENCE)]);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
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
