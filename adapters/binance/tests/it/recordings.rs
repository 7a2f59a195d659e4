//! The adapter reads frames as an independent calculation does, also damaged and rewritten ones.
//!
//! `tests/suites/recordings` compares whole recordings, books included, through `replay`.

use crate::oracle::{RECORDINGS, events, made, session};
use marketprism_adapter_binance::Binance;
use marketprism_adapter_sdk::testkit::{
    OwnedFrame, Session, comparable, compare_damaged, compare_rewritten, has_huge_number, shared_recording,
};
use serde_json::Value;

struct Subject {
    name: &'static str,
    session: Session<Binance>,
    intervals: Option<Value>,
    frames: Vec<OwnedFrame>,
}

/// The recordings on this machine, and hand-made frames of all other kinds.
fn subjects() -> Vec<Subject> {
    let recorded = RECORDINGS.into_iter().filter_map(|(exchange, file)| {
        let records = shared_recording(file)?.unwrap();
        let session = session(exchange, &records);
        let frames = session.frames(&records);
        Some(Subject { name: exchange, session, intervals: None, frames })
    });
    let (session, intervals, frames) = made(&["funding", "liquidations", "polls"]);
    let made = Subject { name: "hand-made", session, intervals: Some(intervals), frames };
    recorded.chain([made]).collect()
}

#[test]
fn frames_equal_an_independent_calculation() {
    for Subject { name, mut session, intervals, frames } in subjects() {
        let lines = session.lines(&frames);
        let mut count = 0;
        for (index, frame) in frames.iter().enumerate() {
            let came: Vec<&Value> = lines.iter().filter(|line| line["frame"] == index).collect();
            let expected = events(&session, intervals.as_ref(), frame);
            if expected.is_empty() {
                assert_eq!(came.len(), 1, "{name}, frame {index}: {came:?}");
                assert!(name == "hand-made" || came[0]["note"] == "not-needed", "{name}, frame {index}");
                assert!(came[0].get("event").is_none(), "{name}, frame {index}: {came:?}");
            } else {
                let came = came.into_iter().filter(|line| line.get("event").is_some());
                assert_eq!(came.map(comparable).collect::<Vec<_>>(), expected, "{name}, frame {index}");
                count += expected.len();
            }
        }
        println!("{name}: {} frames, {count} events", frames.len());
        assert!(count > if name == "hand-made" { 30 } else { 150 });
    }
}

#[test]
fn damaged_frames_never_become_other_events() {
    for Subject { name, mut session, intervals, frames } in subjects() {
        let oracle = |session: &_, frame: &OwnedFrame| {
            (!has_huge_number(&frame.bytes)).then(|| events(session, intervals.as_ref(), frame))
        };
        let (malformed, compared) =
            compare_damaged(&mut session, &frames, 40_000, Session::frame_lines, oracle).unwrap();
        println!("{name}: {malformed} malformed, {compared} compared");
        assert!(malformed > 10_000 && compared > 1_000);
    }
}

#[test]
fn other_writings_of_a_frame_mean_the_same() {
    for Subject { mut session, frames, .. } in subjects() {
        compare_rewritten(&mut session, &frames, Session::frame_lines).unwrap();
    }
}
