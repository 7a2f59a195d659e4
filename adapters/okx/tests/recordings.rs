//! The adapter reads a whole recording as an independent calculation does, also when the frames are damaged or
//! written otherwise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod judge;

use judge::{Judge, RawBook, comparable};
use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::testkit::{
    self, OwnedFrame, Random, Record, RecordKind, Session, damage, write,
};
use marketprism_adapter_sdk::{Adapter, Feed, MarketType};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The exchange ids, each with how many events of the recording are its own: trades and book messages.
const EXCHANGES: [(&str, usize, usize); 2] = [("okx_spot", 69, 98), ("okx_derivatives", 5, 192)];

/// The recording, or none (with a line that says so) where this machine does not hold it.
fn recording() -> Option<Vec<Record>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings/okx.jsonl");
    if !path.is_file() {
        println!("skipped: no recording okx.jsonl");
        return None;
    }
    Some(testkit::read(&path).unwrap())
}

fn session(exchange: &str, records: &[Record]) -> Session<Okx> {
    let whole = testkit::whole_feed::<Okx>(exchange).unwrap();
    // The recording holds no list of options.
    let mut market_types = whole.market_types.clone();
    market_types.retain(|market_type| *market_type != MarketType::Options);
    Session::open(&Feed { market_types, ..whole }, records).unwrap()
}

fn judge(exchange: &str, records: &[Record]) -> Judge {
    let lists = records.iter().filter(|record| record.kind == RecordKind::Rest);
    Judge::new(lists.map(|record| record.data.as_str()), exchange)
}

fn lines(session: &mut Session<Okx>, frames: &[OwnedFrame]) -> Vec<Value> {
    let normalized = session.normalize(frames, 16);
    testkit::lines(&normalized, &session.instruments)
}

// Goal: every trade and book message of the recording comes out as it went in, contracts converted, and nothing
// else does. Method: each frame's events against a calculation that shares no code with the adapter.
#[test]
fn recordings_equal_an_independent_calculation() {
    let Some(records) = recording() else { return };
    for (exchange, trades, books) in EXCHANGES {
        let mut session = session(exchange, &records);
        let judge = judge(exchange, &records);
        let frames = session.frames(&records);
        let lines = lines(&mut session, &frames);
        let mut counts = BTreeMap::new();
        for (index, frame) in frames.iter().enumerate() {
            let came: Vec<Value> =
                lines.iter().filter(|line| line["frame"] == index).map(comparable).collect();
            match judge.events(&frame.bytes) {
                Some(expected) => assert_eq!(came, expected, "frame {index}"),
                None => {
                    assert_eq!(came.len(), 1, "frame {index}: {came:?}");
                    assert_eq!(came[0]["note"], judge.note(&frame.bytes), "frame {index}");
                }
            }
            for line in came {
                let kind = line.get("note").unwrap_or(&line["kind"]).as_str().unwrap().to_owned();
                *counts.entry(kind).or_insert(0) += 1;
            }
        }
        println!("{exchange}: {} frames, {counts:?}", frames.len());
        assert_eq!((counts["trade"], counts["book"]), (trades, books));
        assert_eq!((counts["not-needed"], counts["acknowledgement"]), (28, 18));
    }
}

// Goal: the judge's book is the venue's, and the adapter's events make the same book in base units. Method: the
// venue's checksum of the judge's raw book after every message; the adapter's events applied by sequence to a book
// of their own, compared with the judge's converted book after every message.
#[test]
fn books_equal_the_venues_at_every_update() {
    let Some(records) = recording() else { return };
    for (exchange, _, books) in EXCHANGES {
        let mut session = session(exchange, &records);
        let judge = judge(exchange, &records);
        let frames = session.frames(&records);
        let mut raw: BTreeMap<String, RawBook> = BTreeMap::new();
        let mut own: BTreeMap<String, OwnBook> = BTreeMap::new();
        let mut verified = 0;
        for frame in &frames {
            let value: Value = serde_json::from_slice(&frame.bytes).unwrap();
            if value["arg"]["channel"] != "books" || judge.events(&frame.bytes).is_none() {
                continue;
            }
            let name = value["arg"]["instId"].as_str().unwrap();
            let book = raw.entry(name.to_owned()).or_default();
            let own = own.entry(name.to_owned()).or_default();
            for item in value["data"].as_array().unwrap() {
                book.apply(item, value["action"] == "snapshot");
                assert_eq!(item["checksum"], book.checksum(), "{name} {}", item["seqId"]);
            }
            for line in lines(&mut session, std::slice::from_ref(frame)) {
                own.apply(&line["event"]);
            }
            let place = format!("{name} {}", own.last_id);
            assert_eq!(own.bids(), judge.converted(name, &book.bids()), "bids of {place}");
            assert_eq!(own.asks(), judge.converted(name, &book.asks()), "asks of {place}");
            verified += 1;
        }
        println!("{exchange}: {verified} books verified");
        assert_eq!(verified, books);
    }
}

/// A book made of the adapter's events.
#[derive(Default)]
struct OwnBook {
    last_id: i64,
    sides: [Vec<(String, String)>; 2],
}

impl OwnBook {
    fn apply(&mut self, event: &Value) {
        if event["change"] == "snapshot" {
            self.sides = Default::default();
        } else {
            assert_eq!(event["previous_id"], self.last_id, "the chain holds");
        }
        self.last_id = event["last_id"].as_i64().unwrap();
        for (side, key) in self.sides.iter_mut().zip(["bids", "asks"]) {
            for level in event[key].as_array().unwrap() {
                let (price, quantity) = (level[0].as_str().unwrap(), level[1].as_str().unwrap());
                side.retain(|(known, _)| known != price);
                if quantity != "0" {
                    side.push((price.to_owned(), quantity.to_owned()));
                }
            }
        }
    }

    fn bids(&self) -> Vec<(String, String)> {
        let mut side = self.ordered(0);
        side.reverse();
        side
    }

    fn asks(&self) -> Vec<(String, String)> {
        self.ordered(1)
    }

    fn ordered(&self, side: usize) -> Vec<(String, String)> {
        let mut side = self.sides[side].clone();
        // Prices of a recording have few digits: exact as a float, which only orders them.
        side.sort_by(|one, other| one.0.parse::<f64>().unwrap().total_cmp(&other.0.parse().unwrap()));
        side
    }
}

// Goal: a damaged frame never crashes the adapter, and never becomes an event that the damaged text does not
// say. Method: seeded cuts, byte changes, removals and insertions of recorded frames; an event must be what
// the judge reads from the same bytes.
#[test]
fn damaged_frames_never_become_other_events() {
    let Some(records) = recording() else { return };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (exchange, _, _) in EXCHANGES {
        let mut session = session(exchange, &records);
        let judge = judge(exchange, &records);
        let originals = session.frames(&records);
        let (mut malformed, mut events) = (0, 0);
        for round in 0..40_000 {
            let mut frame = originals[random.below(originals.len())].clone();
            // Snapshots are long: fewer of them.
            if frame.bytes.len() > 3000 && round % 50 != 0 {
                continue;
            }
            for _ in 0..=random.below(2) {
                damage(&mut frame.bytes, &mut random);
            }
            let lines = lines(&mut session, std::slice::from_ref(&frame));
            assert!(!lines.is_empty());
            malformed += usize::from(lines[0]["kind"] == "malformed");
            let came: Vec<Value> =
                lines.iter().filter(|line| line.get("event").is_some()).map(comparable).collect();
            // JSON allows a number that the judge's library cannot hold, in a field that nobody needs.
            let huge = |error: serde_json::Error| error.to_string().contains("number out of range");
            if !came.is_empty() && !serde_json::from_slice::<Value>(&frame.bytes).is_err_and(huge) {
                events += 1;
                let text = String::from_utf8_lossy(&frame.bytes).into_owned();
                assert_eq!(Some(came), judge.events(&frame.bytes), "{text}");
            }
        }
        println!("{exchange}: {malformed} malformed, {events} events");
        assert!(malformed > 10_000 && events > 500);
    }
}

// Goal: the order of keys, whitespace and escapes do not change what a frame means. Method: recorded frames
// written anew with seeded key orders, blanks and escaped letters.
#[test]
fn other_writings_of_a_frame_mean_the_same() {
    let Some(records) = recording() else { return };
    let mut random = Random(42);
    for (exchange, _, _) in EXCHANGES {
        let mut session = session(exchange, &records);
        for original in session.frames(&records).iter().filter(|frame| frame.bytes.len() < 5000) {
            let value: Value = serde_json::from_slice(&original.bytes).unwrap();
            let mut other = original.clone();
            other.bytes = Vec::new();
            write(&value, &mut other.bytes, &mut random);
            let expected = lines(&mut session, std::slice::from_ref(original));
            let came = lines(&mut session, std::slice::from_ref(&other));
            assert_eq!(came, expected, "{}", String::from_utf8_lossy(&other.bytes));
        }
    }
}

// Goal: the cost of a frame in native code is known. Method: the recording in batches of 32, several rounds, the
// best one counts.
#[test]
#[ignore = "a measurement"]
fn measure_native_time_per_frame() {
    let Some(records) = recording() else { return };
    for (exchange, _, _) in EXCHANGES {
        let mut session = session(exchange, &records);
        let judge = judge(exchange, &records);
        let frames = session.frames(&records);
        let channel = |frame: &OwnedFrame, name: &str| {
            judge.events(&frame.bytes).is_some()
                && serde_json::from_slice::<Value>(&frame.bytes).unwrap()["arg"]["channel"] == name
        };
        for kind in ["all", "books", "trades"] {
            let frames: Vec<OwnedFrame> =
                frames.iter().filter(|frame| kind == "all" || channel(frame, kind)).cloned().collect();
            let batches: Vec<_> = frames.chunks(32).map(testkit::batch).collect();
            let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
            let mut best = f64::MAX;
            for _ in 0..300 {
                let start = std::time::Instant::now();
                for batch in &batches {
                    std::hint::black_box(session.adapter.normalize(std::hint::black_box(batch)));
                }
                best = best.min(start.elapsed().as_secs_f64() * 1e9 / frames.len() as f64);
            }
            let size = bytes / frames.len();
            println!("{exchange}, {kind}: {} frames of {size} B: {best:.0} ns a frame", frames.len());
        }
    }
}
