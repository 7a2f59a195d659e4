//! A measurement, not a test. It takes a real adapter and a recording from the environment:
//! `MARKETPRISM_SPEED_ADAPTER=F.wasm MARKETPRISM_SPEED_EXCHANGE=ID MARKETPRISM_SPEED_RECORDING=F.jsonl
//! cargo test --release -p marketprism-adapter-host --test speed -- --ignored --nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use marketprism_adapter_host::contract::{Answer, DataType, Feed};
use marketprism_adapter_host::fixtures::{Kind, component};
use marketprism_adapter_host::{
    Adapter, Engine, FaultPolicy, FrameBatch, Limits, Sandbox, Stats, Supervised,
};

const ROUNDS: usize = 300;

struct Recording {
    frames: Vec<String>,
    answers: Vec<(String, String)>,
}

fn read(path: &str) -> Recording {
    let mut recording = Recording { frames: Vec::new(), answers: Vec::new() };
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let data = line["data"].as_str().unwrap_or_default().to_owned();
        match line["kind"].as_str() {
            Some("ws-in") => recording.frames.push(data),
            Some("rest") => recording.answers.push((line["url"].as_str().unwrap().to_owned(), data)),
            _ => {}
        }
    }
    recording
}

fn resident_kb() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS unknown").to_owned()
}

// Goal: what an empty call and a new instance cost. Method: the fixture adapter, many times.
#[test]
#[ignore = "a measurement"]
fn nanoseconds_of_a_call_and_of_a_restart() {
    let engine = Engine::new(None).unwrap();
    let (limits, stats) = (Arc::new(Limits::default()), Arc::new(Stats::default()));
    let bytes = component(Kind::WellBehaved);
    let began = Instant::now();
    let adapter = Adapter::from_bytes(&engine, &bytes, &limits).unwrap();
    println!("compiling the fixture: {:?}", began.elapsed());
    let began = Instant::now();
    for _ in 0..2_000 {
        drop(Sandbox::new(&adapter, &limits, &stats).unwrap());
    }
    println!("new instance: {:?}", began.elapsed() / 2_000);
    let mut sandbox = Sandbox::new(&adapter, &limits, &stats).unwrap();
    for size in [1, 16, 64] {
        let mut batch = FrameBatch::new();
        (0..size).for_each(|_| batch.push(&[b'x'; 300], 0, 0).unwrap());
        let began = Instant::now();
        for _ in 0..100_000 {
            assert_eq!(sandbox.normalize(&batch).unwrap().notes.len(), size);
        }
        println!("call with {size} frames of 300 bytes, one note each: {:?}", began.elapsed() / 100_000);
    }
}

// Goal: the price of a real frame, host included. Method: the frames of a recording, again and again, in
// batches.
#[test]
#[ignore = "a measurement"]
fn nanoseconds_per_frame_of_a_real_adapter() {
    let [adapter, exchange, recording] = ["ADAPTER", "EXCHANGE", "RECORDING"]
        .map(|name| std::env::var(format!("MARKETPRISM_SPEED_{name}")).ok());
    let (Some(file), Some(exchange), Some(recording)) = (adapter, exchange, recording) else {
        println!("skipped: MARKETPRISM_SPEED_ADAPTER, _EXCHANGE and _RECORDING are not set");
        return;
    };
    let recording = read(&recording);
    let cache = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    for what in ["compiled", "from the cache"] {
        let engine = Engine::new(Some(cache.path())).unwrap();
        let began = Instant::now();
        let adapter = Adapter::load(&engine, &PathBuf::from(&file), &limits).unwrap();
        println!("{} {what}: {:?}", adapter.id(), began.elapsed());
    }
    let engine = Engine::new(Some(cache.path())).unwrap();
    let adapter = Adapter::load(&engine, &PathBuf::from(&file), &limits).unwrap();
    let mut feed = Feed {
        exchange,
        symbols: Vec::new(),
        market_types: Vec::new(),
        data_types: vec![DataType::Trade, DataType::Orderbook],
        depth: 400,
        endpoints: Vec::new(),
    };
    let mut sandbox = Sandbox::new(&adapter, &Arc::new(limits.clone()), &Arc::new(Stats::default())).unwrap();
    let mut answers = Vec::new();
    for (request, wanted) in (0_u32..).zip(sandbox.instrument_requests(&feed, &[]).unwrap()) {
        let path = wanted.url.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
        for (_, body) in recording.answers.iter().filter(|(url, _)| url.contains(&path)) {
            answers.push(Answer { request, body: body.clone().into_bytes() });
        }
    }
    let instruments = sandbox.instruments(&feed, &answers).unwrap();
    feed.symbols = instruments.iter().map(|instrument| instrument.symbol.clone()).collect();
    println!("{} instruments, {} frames", instruments.len(), recording.frames.len());
    let mut adapter =
        Supervised::start(&adapter, &limits, FaultPolicy::default(), feed, instruments, None).unwrap();
    for size in [1, 16, 64] {
        measure(&mut adapter, &recording.frames, size);
    }
    let stats = adapter.stats().snapshot();
    println!(
        "faults {}, guest memory {} kB, {}",
        stats.all_faults(),
        stats.memory_high_water_bytes >> 10,
        resident_kb()
    );
}

fn measure(adapter: &mut Supervised, frames: &[String], size: usize) {
    let mut batch = FrameBatch::new();
    let (mut events, mut notes) = (0, 0);
    let began = Instant::now();
    for _ in 0..ROUNDS {
        for chunk in frames.chunks(size) {
            batch.clear();
            chunk.iter().for_each(|frame| batch.push(frame.as_bytes(), 0, 0).unwrap());
            let outcome = adapter.normalize(&batch);
            events += outcome.normalized.events.len();
            notes += outcome.normalized.notes.len();
        }
    }
    let count = frames.len() * ROUNDS;
    let ns = began.elapsed().as_nanos() as f64 / count as f64;
    println!(
        "batches of {size}: {ns:.0} ns a frame, {:.0} frames/s, {events} events, {notes} notes",
        1e9 / ns
    );
}
