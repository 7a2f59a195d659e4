//! The adapter reads whole recordings as an independent calculation does, also when the frames are damaged or
//! written otherwise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod oracle;

use marketprism_adapter_binance::Binance;
use marketprism_adapter_sdk::testkit::{OwnedFrame, Random, Session, damage, write};
use oracle::{RECORDINGS, adapter_lines, comparable, events, made, recording, session};
use serde_json::Value;

/// Frames, and the adapter that is to read them.
struct Subject {
    name: &'static str,
    session: Session<Binance>,
    /// The list of funding intervals that the adapter has been given.
    intervals: Option<Value>,
    frames: Vec<OwnedFrame>,
}

/// The recordings that this machine holds, and hand-made frames of what they do not hold.
fn subjects() -> Vec<Subject> {
    let recorded = RECORDINGS.into_iter().filter_map(|(exchange, file)| {
        let records = recording(file)?;
        let session = session(exchange, &records);
        let frames = session.frames(&records);
        Some(Subject { name: exchange, session, intervals: None, frames })
    });
    let (session, intervals, frames) = made(&["funding", "liquidations", "polls"]);
    let made = Subject { name: "hand-made", session, intervals: Some(intervals), frames };
    recorded.chain([made]).collect()
}

// Goal: every event of a frame comes out as it went in, and nothing else does. Method: each frame's events
// against a calculation that shares no code with the adapter.
#[test]
fn frames_equal_an_independent_calculation() {
    for Subject { name, mut session, intervals, frames } in subjects() {
        let lines = adapter_lines(&mut session, &frames);
        let mut count = 0;
        for (index, frame) in frames.iter().enumerate() {
            let came: Vec<&Value> = lines.iter().filter(|line| line["frame"] == index).collect();
            let expected = events(&session, intervals.as_ref(), frame);
            if expected.is_empty() {
                assert_eq!(came.len(), 1, "{name}, frame {index}: {came:?}");
                assert!(name == "hand-made" || came[0]["note"] == "not-needed", "{name}, frame {index}");
                assert!(came[0].get("event").is_none(), "{name}, frame {index}: {came:?}");
            } else {
                let came: Vec<Value> = came.into_iter().map(comparable).collect();
                assert_eq!(came, expected, "{name}, frame {index}");
                count += expected.len();
            }
        }
        println!("{name}: {} frames, {count} events", frames.len());
        assert!(count > if name == "hand-made" { 30 } else { 150 });
    }
}

// Goal: a damaged frame never crashes the adapter, and never becomes an event that the damaged text does not
// say. Method: seeded cuts, byte changes, removals and insertions of frames; events must be what the oracle
// reads from the same bytes.
#[test]
fn damaged_frames_never_become_other_events() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for Subject { name, mut session, intervals, frames: originals } in subjects() {
        let (mut malformed, mut count) = (0, 0);
        for round in 0..40_000 {
            let mut frame = originals[random.below(originals.len())].clone();
            // Snapshots are long: damage near their start and end only, and fewer of them.
            if frame.bytes.len() > 5000 && round % 50 != 0 {
                continue;
            }
            for _ in 0..=random.below(2) {
                damage(&mut frame.bytes, &mut random);
            }
            let lines = adapter_lines(&mut session, std::slice::from_ref(&frame));
            assert!(!lines.is_empty());
            malformed += lines.iter().filter(|line| line["kind"] == "malformed").count();
            let came: Vec<Value> =
                lines.iter().filter(|line| line.get("event").is_some()).map(comparable).collect();
            // JSON allows a number that the oracle's library cannot hold, in a field that nobody needs.
            let huge = |error: serde_json::Error| error.to_string().contains("number out of range");
            if !came.is_empty() && !serde_json::from_slice::<Value>(&frame.bytes).is_err_and(huge) {
                count += came.len();
                let text = String::from_utf8_lossy(&frame.bytes).into_owned();
                assert_eq!(came, events(&session, intervals.as_ref(), &frame), "{text}");
            }
        }
        println!("{name}: {malformed} malformed, {count} events");
        assert!(malformed > 10_000 && count > 1_000);
    }
}

// Goal: the order of keys, whitespace and escapes do not change what a frame means. Method: recorded frames
// written anew with seeded key orders, blanks and escaped letters.
#[test]
fn other_writings_of_a_frame_mean_the_same() {
    let mut random = Random(42);
    for Subject { mut session, frames: originals, .. } in subjects() {
        for original in originals.iter().filter(|frame| frame.bytes.len() < 5000) {
            let value: Value = serde_json::from_slice(&original.bytes).unwrap();
            let mut other = original.clone();
            other.bytes = Vec::new();
            write(&value, &mut other.bytes, &mut random);
            let expected = adapter_lines(&mut session, std::slice::from_ref(original));
            let came = adapter_lines(&mut session, std::slice::from_ref(&other));
            assert_eq!(came, expected, "{}", String::from_utf8_lossy(&other.bytes));
        }
    }
}

// Goal: the cost of a frame in native code is known. Method: the recordings in batches of 32, several rounds,
// the best one counts.
#[test]
#[ignore = "a measurement"]
fn measure_native_time_per_frame() {
    use marketprism_adapter_sdk::{Adapter, testkit};
    for Subject { name, mut session, intervals, frames } in subjects() {
        let typed: Vec<_> = frames
            .iter()
            .filter(|frame| frame.source == 0 && !events(&session, intervals.as_ref(), frame).is_empty())
            .cloned()
            .collect();
        for (kind, frames) in [
            ("all but snapshots", frames.iter().filter(|f| f.source == 0).cloned().collect()),
            ("typed", typed),
        ] {
            let frames: Vec<OwnedFrame> = frames;
            let batches: Vec<_> = frames.chunks(32).map(testkit::batch).collect();
            let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
            let mut best = f64::MAX;
            for _ in 0..200 {
                let start = std::time::Instant::now();
                for batch in &batches {
                    std::hint::black_box(session.adapter.normalize(std::hint::black_box(batch)));
                }
                best = best.min(start.elapsed().as_secs_f64() * 1e9 / frames.len() as f64);
            }
            println!(
                "{name}, {kind}: {} frames of {} B: {best:.0} ns a frame",
                frames.len(),
                bytes / frames.len()
            );
        }
    }
}
