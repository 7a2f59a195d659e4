//! A change to each broken version of an adapter is refused or rolled back with its cause, and costs no event.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use marketprism_adapter_conformance::{Check, CheckOutcome, Options, check_swap};
use marketprism_adapter_host::contract::{
    Answer, DataType, Endpoint, Feed, Instrument, MarketType, Payload, Side,
};
use marketprism_adapter_host::{
    Adapter, AdapterSupervisor, DifferenceKind, Engine, FaultPolicy, FrameBatch, Limits, NormalizedBatch,
    Sandbox, Stats,
};
use marketprism_broken_adapters::SwapFault;

/// Batches until a fault must have been found; the slow version needs the most.
const BATCHES: u64 = 2_000;

fn version(fault: SwapFault) -> Adapter {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| Engine::new(None).unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/adapters/broken-adapters.wasm");
    let component =
        std::fs::read(&path).unwrap_or_else(|_| panic!("{} is missing: run `make test`", path.display()));
    Adapter::from_bytes(engine, &fault.put(&component).unwrap(), &Limits::default()).unwrap()
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

fn sound() -> &'static Adapter {
    static SOUND: OnceLock<Adapter> = OnceLock::new();
    SOUND.get_or_init(|| version(SwapFault::None))
}

fn start() -> AdapterSupervisor {
    let sound = sound();
    let instruments = instruments(sound);
    let policy = FaultPolicy::default();
    AdapterSupervisor::start(sound, &limits(), policy, feed(), instruments, None).unwrap()
}

/// A trade that the faults concern, or not.
fn marked_trade(id: u64, is_marked: bool) -> String {
    let mark = if is_marked { "!" } else { "" };
    format!(
        r#"{{"type":"trade","name":"BTC/USD","id":{id},"time_us":1,"price":"87543.2","quantity":"1.5","taker":"buy","mark":"{mark}"}}"#
    )
}

fn trade(supervisor: &mut AdapterSupervisor, id: u64, is_marked: bool) -> NormalizedBatch {
    let text = marked_trade(id, is_marked);
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
        // Slow calls show in the cost that the suite prints.
        let (fault, cause) = fault;
        match fault {
            SwapFault::Slow => {
                let check = compared(&new, None);
                assert_eq!((check.outcome, check.causes.len()), (CheckOutcome::Passed, 0), "{check:?}");
            }
            SwapFault::Malformed => is_told(&new, fault, "malformed differ in 100 frames, such as"),
            SwapFault::Silent => is_told(&new, fault, "trade differ in 100 frames, such as"),
            SwapFault::WrongSide => {
                is_told(&new, fault, "trade differ in 100 frames, such as");
                let accepted = compared(&new, DifferenceKind::parse("trade"));
                assert_eq!(accepted.outcome, CheckOutcome::Passed, "{accepted:?}");
                assert!(
                    accepted.detail.ends_with("; accepted differences: trade in 100 frames"),
                    "{accepted:?}"
                );
            }
            _ => is_told(&new, fault, cause),
        }
    }
}

#[test]
fn another_plan_other_instruments_and_another_description_are_seen() {
    let supervisor = start();
    let other = version(SwapFault::OtherPlan);
    let error = supervisor.seed().prepare(&other).err().unwrap().to_string();
    assert!(error.starts_with("plan differs from that of the running feed: connections[0] is "), "{error}");
    is_told(&other, SwapFault::OtherPlan, "plan differs: connections[0] is ");
    let other = version(SwapFault::OtherInstruments);
    assert_ne!(instruments(&other), supervisor.instruments());
    is_told(&other, SwapFault::OtherInstruments, "BTC-USD of 2 differing instruments: ");
    let other = version(SwapFault::OtherVenue);
    assert_ne!(other.venue("sound"), supervisor.adapter().venue("sound"));
    is_told(&other, SwapFault::OtherVenue, "describes sound otherwise: capabilities[1] is ");
}

/// The conformance suite's comparison of a version with the sound one, on marked trades.
fn compared(new: &Adapter, accepted: Option<DifferenceKind>) -> Check {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("frames/sound.instruments.jsonl");
    let mut lines = std::fs::read_to_string(golden).unwrap();
    for id in 1..=100 {
        let record = serde_json::json!({
            "at": 1_700_000_000_000_000_000_u64, "kind": "ws-in", "conn": 1, "data": marked_trade(id, true),
        });
        lines.push_str(&format!("{record}\n"));
    }
    let recording = folder.path().join("marked.jsonl");
    std::fs::write(&recording, lines).unwrap();
    let options = Options {
        recordings: vec![recording],
        accepted: accepted.into_iter().collect(),
        ..Options::new(folder.path().join("none.wasm"))
    };
    check_swap([sound(), new], &limits(), "sound", &options).unwrap()
}

fn is_told(new: &Adapter, fault: SwapFault, cause: &str) {
    let check = compared(new, None);
    let is_named = check.causes.iter().any(|found| found.contains(cause));
    assert!(check.outcome == CheckOutcome::Failed && is_named, "{fault:?}: {check:?}");
}
