//! The adapter reads a whole recording as an independent calculation does, and so it does hand-made frames, also when they are damaged or
//! written otherwise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod oracle;

use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_sdk::testkit::{self, OwnedFrame, Random, Session, blank, damage, write_text};
use marketprism_adapter_sdk::{Adapter, Book, BookChange, Payload};
use oracle::{adapter_lines, case, comparable, events, recording, session};
use serde_json::Value;
use std::collections::BTreeMap;

/// A book as a reader would keep it: price text to quantity text, bids and asks.
type OwnBook = [BTreeMap<String, String>; 2];

fn apply(books: &mut BTreeMap<String, OwnBook>, line: &Value) {
    let event = &line["event"];
    let book = books.entry(event["instrument"].as_str().unwrap().to_owned()).or_default();
    if event["change"] == "snapshot" {
        *book = OwnBook::default();
    }
    for (side, key) in book.iter_mut().zip(["bids", "asks"]) {
        for level in event[key].as_array().unwrap() {
            let (price, quantity) = (level[0].as_str().unwrap(), level[1].as_str().unwrap());
            if quantity == "0" {
                side.remove(price).expect("only a level that stands is deleted");
            } else {
                side.insert(price.to_owned(), quantity.to_owned());
            }
        }
    }
}

// Goal: every book update and open interest of the recording comes out as it went in, and nothing else does. Method: each frame's events
// against a calculation that shares no code with the adapter, and the books that both make, equal after every frame and without a hole.
#[test]
fn the_recording_equals_an_independent_calculation() {
    let Some(records) = recording() else { return };
    let mut session = session(&records);
    assert_eq!(session.instruments.len(), 12, "ten options, two indices");
    let (mut ours, mut theirs) = (BTreeMap::new(), BTreeMap::new());
    let mut last_ids: BTreeMap<String, i64> = BTreeMap::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (index, frame) in session.frames(&records).iter().enumerate() {
        let lines = adapter_lines(&mut session, frame);
        let expected = events(&session, &frame.bytes).unwrap_or_default();
        assert_eq!(comparable(&lines), expected, "frame {index}");
        for (line, other) in comparable(&lines).iter().zip(&expected) {
            let name = line["event"]["instrument"].as_str().unwrap().to_owned();
            if line["kind"] == "book" {
                let last = last_ids.insert(name, line["event"]["last_id"].as_i64().unwrap());
                assert_eq!(line["event"]["previous_id"].as_i64(), last, "frame {index}: no hole");
                apply(&mut ours, line);
                apply(&mut theirs, other);
            }
        }
        assert_eq!(ours, theirs, "frame {index}");
        for line in &lines {
            let what = line.get("note").and_then(Value::as_str).unwrap_or(line["kind"].as_str().unwrap());
            *counts.entry(what.to_owned()).or_default() += 1;
        }
    }
    println!("{counts:?}, {} books", ours.len());
    let expected = [("acknowledgement", 1), ("book", 46), ("open_interest", 89)];
    assert_eq!(counts, expected.map(|(what, count)| (what.to_owned(), count)).into());
    assert_eq!(ours.len(), 10);
}

/// The recording's frames and the hand-made ones, with the adapter that knows all their instruments.
fn everything() -> (Session<Deribit>, Vec<OwnedFrame>) {
    let session = session(&case("instruments"));
    let mut records: Vec<_> =
        ["books", "trades", "tickers", "volatility"].into_iter().flat_map(case).collect();
    records.extend(recording().unwrap_or_default());
    let frames = session.frames(&records).into_iter().filter(|frame| frame.source == 0).collect();
    (session, frames)
}

/// A forced trade is told once, so its frames need an adapter that has not seen them.
fn fresh(session: &mut Session<Deribit>) {
    let feed = testkit::whole_feed::<Deribit>("deribit_derivatives").unwrap();
    session.adapter = Deribit::load(feed, session.instruments.clone()).unwrap();
}

// Goal: hand-made frames of every kind mean what an independent calculation says, divisions of inverse contracts included. Method: as
// above, frame by frame.
#[test]
fn made_frames_equal_an_independent_calculation() {
    let (mut session, frames) = everything();
    let mut count = 0;
    for frame in &frames {
        fresh(&mut session);
        let came = comparable(&adapter_lines(&mut session, frame));
        let expected = events(&session, &frame.bytes).unwrap_or_default();
        assert_eq!(came, expected, "{}", String::from_utf8_lossy(&frame.bytes));
        count += came.len();
    }
    assert!(count > 55, "{count} events");
}

// Goal: a damaged frame never crashes the adapter, and never becomes an event that the damaged text does not say. Method: seeded cuts,
// byte changes, removals and insertions; events must be what the oracle reads from the same bytes.
#[test]
fn damaged_frames_never_become_other_events() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut session, originals) = everything();
    let (mut malformed, mut read) = (0, 0);
    for _ in 0..60_000 {
        let mut frame = originals[random.below(originals.len())].clone();
        for _ in 0..=random.below(2) {
            damage(&mut frame.bytes, &mut random);
        }
        if frame.bytes.windows(11).any(|part| part == b"liquidation") {
            fresh(&mut session);
        }
        let lines = adapter_lines(&mut session, &frame);
        assert!(!lines.is_empty());
        malformed += lines.iter().filter(|line| line["kind"] == "malformed").count();
        let came = comparable(&lines);
        if !came.is_empty() {
            read += 1;
            let text = String::from_utf8_lossy(&frame.bytes).into_owned();
            assert_eq!(Some(came), events(&session, &frame.bytes), "{text}");
        }
    }
    println!("{malformed} malformed, {read} with events");
    assert!(malformed > 20_000 && read > 2_000);
}

// Goal: the order of members, white space, escapes and the form of numbers do not change what a frame means. Method: all frames written
// anew with seeded orders, blanks, escaped letters and exponents.
#[test]
fn other_writings_of_a_frame_mean_the_same() {
    let mut random = Random(42);
    let (mut session, originals) = everything();
    for original in originals.iter().cycle().take(originals.len() * 5) {
        let mut other = OwnedFrame { bytes: Vec::new(), ..original.clone() };
        write(std::str::from_utf8(&original.bytes).unwrap(), &mut other.bytes, &mut random);
        let [expected, came] = [original, &other].map(|frame| {
            fresh(&mut session);
            adapter_lines(&mut session, frame)
        });
        let same = |lines: &[Value]| {
            (comparable(lines), lines.iter().map(|line| line.get("note").cloned()).collect::<Vec<_>>())
        };
        assert_eq!(same(&came), same(&expected), "{}", String::from_utf8_lossy(&other.bytes));
    }
}

/// Writes a JSON text anew. Numbers are taken from their texts: the library's own would lose digits.
fn write(json: &str, text: &mut Vec<u8>, random: &mut Random) {
    use serde_json::value::RawValue;
    blank(text, random);
    match json.as_bytes()[0] {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap();
            let mut members: Vec<(String, &RawValue)> = members.into_iter().collect();
            for index in (1..members.len()).rev() {
                members.swap(index, random.below(index + 1));
            }
            text.push(b'{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                blank(text, random);
                write_text(&key, text, random);
                blank(text, random);
                text.push(b':');
                write(value.get(), text, random);
            }
            text.push(b'}');
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).unwrap();
            text.push(b'[');
            for (index, value) in elements.into_iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                write(value.get(), text, random);
            }
            blank(text, random);
            text.push(b']');
        }
        b'"' => write_text(&serde_json::from_str::<String>(json).unwrap(), text, random),
        b'-' | b'0'..=b'9' => write_number(json, text, random),
        _ => text.extend_from_slice(json.as_bytes()),
    }
    blank(text, random);
}

/// A number with a point also as one with an exponent; whole ones, which may be ids, stay.
fn write_number(json: &str, text: &mut Vec<u8>, random: &mut Random) {
    match json.split_once('.') {
        Some((integer, fraction)) if random.below(4) == 0 && !fraction.contains(['e', 'E']) => {
            let digits = format!("{integer}{fraction}");
            let (sign, digits) =
                digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
            let digits = digits.trim_start_matches('0');
            let digits = if digits.is_empty() { "0" } else { digits };
            text.extend_from_slice(format!("{sign}{digits}e-{}", fraction.len()).as_bytes());
        }
        _ => text.extend_from_slice(json.as_bytes()),
    }
}

// Goal: the cost of a frame in native code is known. Method: the recording in batches of 32, many rounds, the best one counts.
#[test]
#[ignore = "a measurement"]
fn measure_native_time_per_frame() {
    let Some(records) = recording() else { return };
    let mut session = session(&records);
    let frames = session.frames(&records);
    let of = |kind: &str| -> Vec<OwnedFrame> {
        let is = |frame: &&OwnedFrame| String::from_utf8_lossy(&frame.bytes).contains(kind);
        frames.iter().filter(is).cloned().collect()
    };
    for (kind, frames) in
        [("all", frames.clone()), ("tickers", of("\"ticker.")), ("changes", of("\"type\":\"change\""))]
    {
        let batches: Vec<_> = frames.chunks(32).map(testkit::batch).collect();
        let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        let mut best = f64::MAX;
        for _ in 0..2000 {
            let start = std::time::Instant::now();
            for batch in &batches {
                std::hint::black_box(session.adapter.normalize(std::hint::black_box(batch)));
            }
            best = best.min(start.elapsed().as_secs_f64() * 1e9 / frames.len() as f64);
        }
        println!("{kind}: {} frames of {} B: {best:.0} ns a frame", frames.len(), bytes / frames.len());
    }
}

// Goal: the levels of a snapshot of an inverse book stand at the scales that the event names. Method: mantissas, not texts.
#[test]
fn inverse_books_carry_the_scale_of_the_division() {
    let (mut session, frames) = everything();
    let normalized = session.normalize(&frames[..1], 1);
    let Payload::Book(Book { change: BookChange::Snapshot, price_scale: 1, quantity_scale: 12, .. }) =
        normalized.events[0].payload
    else {
        panic!("{:?}", normalized.events)
    };
    assert_eq!(
        normalized.levels,
        [425_000, 23_529_411_765, 424_995, 235_296_886, 425_010, 18_823_086_516],
        "1000 / 42500, 10 / 42499.5, 800 / 42501"
    );
}
