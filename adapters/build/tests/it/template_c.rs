//! The templates in C and Rust behave alike.

use marketprism_adapter_build::{Options, build};
use marketprism_adapter_host::contract::{Answer, DataType, Feed, Normalized};
use marketprism_adapter_host::{Adapter, Engine, FrameBatch, Limits, Sandbox, Stats};
use marketprism_adapter_sdk::testkit::{RecordKind, read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// `None` if this machine has no compiler for C.
fn built(folder: &Path) -> Option<PathBuf> {
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !runs("clang") || !runs("wasm-ld") {
        println!("SKIPPED: the adapter in C, clang and lld are not here");
        return None;
    }
    let options = Options {
        names: vec!["template-c".to_owned()],
        tests: false,
        out: folder.join("out"),
        target_dir: folder.join("target"),
        root: Some(root()),
    };
    Some(build(&options).unwrap().built.remove(0).file)
}

/// An instance for the template's frames, with its requests, instruments and plan as text.
fn loaded(engine: &Engine, file: &Path) -> (Sandbox, String) {
    // What is looked at is what a call says and takes, not how long a busy machine needs for it.
    let limits = Limits { call_deadline: Duration::from_secs(10), ..Limits::default() };
    let adapter = Adapter::load(engine, file, &limits)
        .unwrap_or_else(|error| panic!("{}: {error} (`make build` makes it)", file.display()));
    let mut sandbox = Sandbox::new(&adapter, &Arc::new(limits), &Arc::new(Stats::default())).unwrap();
    let feed = Feed {
        exchange: "template_spot".to_owned(),
        symbols: Vec::new(),
        market_types: Vec::new(),
        data_types: vec![DataType::Trade, DataType::Orderbook],
        depth: 100,
        endpoints: Vec::new(),
    };
    let list = read(&root().join("adapters/template/frames/template_spot.instruments.jsonl")).unwrap();
    let requests = sandbox.instrument_requests(&feed, &[]).unwrap();
    let answers = [Answer { request: 0, body: list[0].data.clone().into_bytes() }];
    assert!(sandbox.instrument_requests(&feed, &answers).unwrap().is_empty());
    let instruments = sandbox.instruments(&feed, &answers).unwrap();
    sandbox.load(&feed, &instruments).unwrap();
    let plan = sandbox.plan().unwrap();
    let said = format!("{requests:?} {instruments:?} {plan:?} {:?}", adapter.description().venues);
    (sandbox, said)
}

fn frames() -> Vec<Vec<u8>> {
    let folder = std::fs::read_dir(root().join("adapters/template/frames")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let records = files.iter().flat_map(|file| read(file).unwrap());
    records.filter(|record| record.kind == RecordKind::In).map(|record| record.data.into_bytes()).collect()
}

fn normalized(sandbox: &mut Sandbox, frames: &[Vec<u8>]) -> Normalized {
    let mut batch = FrameBatch::new();
    for (time, frame) in (0..).zip(frames) {
        batch.push(frame, 0, time).unwrap();
    }
    sandbox.normalize(&batch).unwrap()
}

fn damaged(frames: &[Vec<u8>], mut random: impl FnMut(usize) -> usize) -> Vec<u8> {
    const PIECES: [&[u8]; 20] = [
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"0",
        b"-",
        b".",
        b"e9",
        b"null",
        b"\xff",
        b"\xc3\xa9",
        b"\\u00e9",
        b"\\ud83d\\ude00",
        b"18446744073709551616",
        b"\"type\":\"delta\",",
    ];
    let mut frame = frames[random(frames.len())].clone();
    for _ in 0..=random(2) {
        let (at, end) = (random(frame.len() + 1), random(frame.len() + 1));
        match random(10) {
            0 => frame.truncate(at),
            1 => drop(frame.drain(at.min(end)..at.max(end))),
            2 => drop(frame.splice(at..at, PIECES[random(PIECES.len())].iter().copied())),
            3 if at < frame.len() => frame[at] = PIECES[random(PIECES.len())][0],
            4 => {
                let other = &frames[random(frames.len())];
                frame.truncate(at);
                frame.extend_from_slice(&other[random(other.len() + 1)..]);
            }
            // Another number: often still a whole frame.
            _ => {
                let digits = (0..frame.len()).filter(|at| frame[*at].is_ascii_digit()).collect::<Vec<_>>();
                if !digits.is_empty() {
                    frame[digits[random(digits.len())]] = b'0' + random(10) as u8;
                }
            }
        }
    }
    frame
}

// Both run in the sandbox: the golden frames, then 30,000 damaged ones from a fixed seed.
#[test]
fn both_templates_produce_the_same_output() {
    let folder = tempfile::tempdir().unwrap();
    let Some(file) = built(folder.path()) else { return };
    let engine = Engine::new(None).unwrap();
    let (mut c, c_said) = loaded(&engine, &file);
    let (mut rust, rust_said) = loaded(&engine, &root().join("target/adapters/template.wasm"));
    assert_eq!(c_said, rust_said);
    let golden = frames();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit.max(1) as u64) as usize
    };
    let damage = (0..30_000).map(|_| damaged(&golden, &mut random));
    let all: Vec<Vec<u8>> = golden.iter().cloned().chain(damage).collect();
    let mut events = 0;
    for batch in all.chunks(64) {
        let (c, rust) = (normalized(&mut c, batch), normalized(&mut rust, batch));
        let texts = |normalized: &Normalized| {
            let events = normalized.events.iter().map(|event| format!("{event:?}"));
            events.chain(normalized.notes.iter().map(|note| format!("{note:?}"))).collect::<Vec<_>>()
        };
        for (c, rust) in texts(&c).iter().zip(texts(&rust)) {
            assert_eq!(
                *c,
                rust,
                "frames {:?}",
                batch.iter().map(|frame| String::from_utf8_lossy(frame)).collect::<Vec<_>>()
            );
        }
        assert_eq!((c.events.len(), c.notes.len()), (rust.events.len(), rust.notes.len()));
        assert_eq!(c.levels, rust.levels);
        events += c.events.len();
    }
    println!("{} frames, {events} events", all.len());
    assert!(events > 1000, "damage leaves some frames whole: {events}");
}

// Books whose texts, levels and escapes are many times the sandbox's memory, with frames of every other
// kind between them.
#[test]
fn memory_in_c_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let Some(file) = built(folder.path()) else { return };
    let (mut sandbox, _) = loaded(&Engine::new(None).unwrap(), &file);
    let levels = vec![r#"["1.5","2"]"#; 4_000].join(",");
    let book = format!(
        r#"{{"type":"snapshot","name":"BTC\u005fUSD","id":1,"time":1,"bids":[{levels}],"asks":[{levels}]}}"#
    );
    let mut batch = frames();
    batch.truncate(60);
    batch.push(book.into_bytes());
    let bytes: usize = batch.iter().map(Vec::len).sum();
    let rounds = (2 * Limits::default().memory_bytes).div_ceil(bytes);
    for _ in 0..rounds {
        let normalized = normalized(&mut sandbox, &batch);
        assert!(normalized.levels.len() >= 16_000);
    }
}
