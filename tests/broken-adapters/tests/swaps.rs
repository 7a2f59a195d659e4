//! A change to each broken version of an adapter is refused or rolled back with its cause, and costs no event.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use marketprism_adapter_conformance::{Options, Report, test};
use marketprism_adapter_host::contract::{
    Answer, DataType, Endpoint, Feed, Instrument, MarketType, Payload, Side,
};
use marketprism_adapter_host::{
    Adapter, AdapterSupervisor, DifferenceKind, Engine, FaultPolicy, FrameBatch, Limits, NormalizedBatch,
    Sandbox, Stats, with_custom_section,
};
use marketprism_broken_adapters::SwapFault;

/// Batches until a fault must have been found; the slow version needs the most.
const BATCHES: u64 = 2_000;

fn component(fault: SwapFault) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/adapters/broken-adapters.wasm");
    let component =
        std::fs::read(&path).unwrap_or_else(|_| panic!("{} is missing: run `make test`", path.display()));
    fault.put(&component).unwrap()
}

fn version(fault: SwapFault) -> Adapter {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| Engine::new(None).unwrap());
    Adapter::from_bytes(engine, &component(fault), &Limits::default()).unwrap()
}

fn feed() -> Feed {
    let endpoint = |name: &str, url: &str| Endpoint { name: name.into(), default_url: url.into() };
    Feed {
        exchange: "sound".into(),
        symbols: vec!["BTC-USD".into()],
        market_types: vec![MarketType::Spot],
        data_types: vec![DataType::Trade],
        depth: 100,
        endpoints: vec![endpoint("ws", "ws://127.0.0.1:9"), endpoint("rest", "http://127.0.0.1:9")],
    }
}

fn instruments(adapter: &Adapter) -> Vec<Instrument> {
    let mut sandbox = Sandbox::new(adapter, &Arc::default(), &Arc::new(Stats::default())).unwrap();
    let body =
        br#"{"markets":[{"name":"BTC/USD","base":"BTC","quote":"USD","tick":"0.1","step":"0.00001"}]}"#;
    sandbox.instruments(&feed(), &[Answer { request: 0, body: body.to_vec() }]).unwrap()
}

fn start() -> AdapterSupervisor {
    static SOUND: OnceLock<Adapter> = OnceLock::new();
    let sound = SOUND.get_or_init(|| version(SwapFault::None));
    let instruments = instruments(sound);
    let policy = FaultPolicy::default();
    AdapterSupervisor::start(sound, &limits(), policy, feed(), instruments, None).unwrap()
}

/// A trade that the faults concern, or not.
fn trade(supervisor: &mut AdapterSupervisor, id: u64, is_marked: bool) -> NormalizedBatch {
    let mark = if is_marked { "!" } else { "" };
    let text = format!(
        r#"{{"type":"trade","name":"BTC/USD","id":{id},"time_us":1,"price":"87543.2","quantity":"1.5","taker":"buy","mark":"{mark}"}}"#
    );
    let mut batch = FrameBatch::new();
    batch.push(text.as_bytes(), 0, 1).unwrap();
    supervisor.normalize(&batch)
}

fn assert_sound(result: &NormalizedBatch, fault: SwapFault) {
    assert!(result.faults.is_empty(), "{fault:?}");
    let [event] = &*result.normalized.events else { panic!("{fault:?}: {result:?}") };
    let Payload::Trade(trade) = &event.payload else { panic!("{fault:?}") };
    assert!(matches!(trade.side, Side::Buy), "{fault:?}");
}

/// Faults of the output with a text of their cause.
const OUTPUT_FAULTS: [(SwapFault, &str); 6] = [
    (SwapFault::Trap, "adapter fault trap"),
    (SwapFault::MemoryHungry, "adapter fault memory"),
    (SwapFault::Slow, "slow: "),
    (SwapFault::Silent, "trade differ on frame"),
    (SwapFault::WrongSide, "trade differ on frame"),
    (SwapFault::Malformed, "trade differ on frame"),
];

/// Calls of the slow version are slow, not cut off, on a busy machine too.
fn limits() -> Limits {
    Limits { call_deadline: Duration::from_secs(5), ..Limits::default() }
}

fn is_found_in_the_shadow(new: &Adapter, (fault, cause): (SwapFault, &str)) {
    let mut supervisor = start();
    let shadow = supervisor.begin_shadow(supervisor.seed().prepare(new).unwrap(), BTreeSet::new()).unwrap();
    for id in 0..BATCHES {
        assert_sound(&trade(&mut supervisor, id, true), fault);
        let report = shadow.report();
        if let Some(failure) = report.failure {
            return assert!(failure.contains(cause), "{fault:?}: {failure}");
        }
        if let Some((kind, found)) = report.differences.first_key_value() {
            let example = &found.examples[0];
            assert!(
                cause.starts_with(kind.as_str()) && example.running != example.new,
                "{fault:?}: {found:?}"
            );
            return;
        }
    }
    panic!("{fault:?} is not found");
}

fn is_rolled_back_without_a_lost_event(new: &Adapter, (fault, cause): (SwapFault, &str)) {
    let mut supervisor = start();
    let running = supervisor.adapter().digest().to_owned();
    supervisor.begin_shadow(supervisor.seed().prepare(new).unwrap(), BTreeSet::new()).unwrap();
    assert_sound(&trade(&mut supervisor, 0, false), fault);
    let probation = supervisor.switch().unwrap();
    assert_eq!(supervisor.adapter().digest(), new.digest(), "{fault:?}");
    for id in 1..BATCHES {
        assert_sound(&trade(&mut supervisor, id, id > 1), fault);
        if let Some(failure) = probation.report().failure {
            assert!(failure.contains(cause), "{fault:?}: {failure}");
            assert_eq!(supervisor.adapter().digest(), running, "{fault:?}");
            return assert_sound(&trade(&mut supervisor, BATCHES, true), fault);
        }
    }
    panic!("{fault:?} is not rolled back");
}

#[test]
fn a_fault_of_the_output_is_found_and_costs_no_event() {
    for fault in OUTPUT_FAULTS {
        let new = version(fault.0);
        is_found_in_the_shadow(&new, fault);
        is_rolled_back_without_a_lost_event(&new, fault);
    }
}

#[test]
fn another_plan_other_instruments_and_another_description_are_seen() {
    let supervisor = start();
    let other = version(SwapFault::OtherPlan);
    let error = supervisor.seed().prepare(&other).err().unwrap().to_string();
    assert!(error.starts_with("plan differs from that of the running feed: connections[0] is "), "{error}");
    assert_ne!(instruments(&version(SwapFault::OtherInstruments)), supervisor.instruments());
    assert_ne!(version(SwapFault::OtherVenue).venue("sound"), supervisor.adapter().venue("sound"));
}

/// The report of a version against the sound one, on marked trades.
fn compared(fault: SwapFault, accepted: Option<DifferenceKind>) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("earlier.wasm"), component(SwapFault::None)).unwrap();
    // A section makes another component of it.
    let new = with_custom_section(&component(fault), "version", b"2");
    std::fs::write(file("new.wasm"), new).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("frames");
    let mut lines = std::fs::read_to_string(golden.join("sound.instruments.jsonl")).unwrap();
    for id in 1..=100 {
        let data = format!(
            r#"{{"type":"trade","name":"BTC/USD","id":{id},"time_us":1700000000000123,"price":"87543.2","quantity":"1.5","taker":"buy","mark":"!"}}"#
        );
        let record = serde_json::json!({"at": 1_700_000_000_000_000_000_u64, "kind": "ws-in", "conn": 1, "data": data});
        lines.push_str(&format!("{record}\n"));
    }
    std::fs::write(file("marked.jsonl"), lines).unwrap();
    let options = Options {
        golden: None,
        exchanges: vec!["sound".to_owned()],
        recordings: vec![file("marked.jsonl")],
        against: Some(file("earlier.wasm")),
        accepted: accepted.into_iter().collect(),
        mutations: 10,
        ..Options::new(file("new.wasm"))
    };
    test(&options).unwrap()
}

/// The causes of the check `swap`.
fn swap_causes(report: &Report) -> Vec<String> {
    report.all().filter(|(_, check)| check.id == "swap").flat_map(|(_, check)| check.causes.clone()).collect()
}

#[test]
fn the_conformance_suite_says_that_a_broken_version_cannot_replace_a_sound_one() {
    let report = compared(SwapFault::None, None);
    assert!(swap_causes(&report).is_empty() && report.against.is_some(), "{}", report.text());
    for (fault, cause) in [
        (SwapFault::Trap, "marked.jsonl frame 0"),
        (SwapFault::Silent, "trade differ in 100 frames"),
        (SwapFault::WrongSide, "trade differ in 100 frames"),
        (SwapFault::Malformed, "malformed differ in 100 frames"),
        (SwapFault::MemoryHungry, "adapter fault memory"),
        (SwapFault::OtherPlan, "plan differs: connections[0] is "),
        (SwapFault::OtherInstruments, "BTC-USD of 2 differing instruments: "),
        (SwapFault::OtherVenue, "describes sound otherwise: capabilities[1] is "),
    ] {
        let report = compared(fault, None);
        let causes = swap_causes(&report);
        assert!(!report.passed && causes.iter().any(|found| found.contains(cause)), "{fault:?}: {causes:?}");
    }
    let accepted = compared(SwapFault::WrongSide, DifferenceKind::parse("trade"));
    assert!(swap_causes(&accepted).is_empty(), "{}", accepted.text());
    assert!(accepted.text().contains("accepted differences: trade in 100 frames"), "{}", accepted.text());
}
