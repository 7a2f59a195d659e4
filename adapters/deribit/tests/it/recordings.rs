//! The adapter reads recorded and hand-made frames as an independent calculation does, also damaged and rewritten ones.
//!
//! `tests/suites/recordings` compares the whole recording, books included, through `replay`.

use crate::oracle::{adapter_lines, case, comparable, events, recording, session};
use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_sdk::testkit::{
    self, OwnedFrame, Random, Session, blank, compare_damaged, write_text,
};
use marketprism_adapter_sdk::{Adapter, Book, BookChange, Payload};
use serde_json::Value;
use std::collections::BTreeMap;

/// The recording's frames and the hand-made ones, with the adapter that knows all their instruments.
fn everything() -> (Session<Deribit>, Vec<OwnedFrame>) {
    let session = session(&case("instruments"));
    let mut records: Vec<_> =
        ["books", "trades", "tickers", "volatility"].into_iter().flat_map(case).collect();
    records.extend(recording().unwrap_or_default());
    let frames = session.frames(&records).into_iter().filter(|frame| frame.source == 0).collect();
    (session, frames)
}

/// A liquidation is reported once, so its frames need an adapter that has not seen them.
fn fresh(session: &mut Session<Deribit>) {
    let feed = testkit::whole_feed::<Deribit>("deribit_derivatives").unwrap();
    session.adapter = Deribit::load(feed, session.instruments.clone()).unwrap();
}

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

#[test]
fn damaged_frames_never_become_other_events() {
    let (mut session, originals) = everything();
    let lines = |session: &mut _, frame: &OwnedFrame| {
        if frame.bytes.windows(11).any(|part| part == b"liquidation") {
            fresh(session);
        }
        adapter_lines(session, frame)
    };
    let oracle = |session: &_, frame: &OwnedFrame| Some(events(session, &frame.bytes).unwrap_or_default());
    let (malformed, compared) = compare_damaged(&mut session, &originals, 60_000, lines, oracle).unwrap();
    println!("{malformed} malformed, {compared} compared");
    assert!(malformed > 20_000 && compared > 2_000);
}

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
