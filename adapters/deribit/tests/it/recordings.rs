//! The adapter reads recorded and hand-made frames as an independent calculation does, also damaged and rewritten ones.
//!
//! `tests/suites/recordings` compares the whole recording, books included, through `replay`.

use crate::oracle::{case, comparable, events, session};
use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_sdk::testkit::{
    self, OwnedFrame, Session, compare_damaged, compare_rewritten, shared_recording,
};
use marketprism_adapter_sdk::{Adapter, Book, BookChange, Payload};

/// The recording's frames and the hand-made ones, with the adapter that knows all their instruments.
fn everything() -> (Session<Deribit>, Vec<OwnedFrame>) {
    let session = session(&case("instruments"));
    let mut records: Vec<_> =
        ["books", "trades", "tickers", "volatility"].into_iter().flat_map(case).collect();
    records.extend(shared_recording("deribit.jsonl").map(Result::unwrap).unwrap_or_default());
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
        let came = comparable(&session.frame_lines(frame));
        let expected = events(&session, frame).unwrap_or_default();
        assert_eq!(came, expected, "{}", String::from_utf8_lossy(&frame.bytes));
        count += came.len();
    }
    assert!(count > 55, "{count} events");
}

#[test]
fn damaged_frames_never_become_other_events() {
    let (mut session, originals) = everything();
    let lines = |session: &mut Session<Deribit>, frame: &OwnedFrame| {
        if frame.bytes.windows(11).any(|part| part == b"liquidation") {
            fresh(session);
        }
        session.frame_lines(frame)
    };
    let oracle = |session: &_, frame: &OwnedFrame| Some(events(session, frame).unwrap_or_default());
    let (malformed, compared) = compare_damaged(&mut session, &originals, 60_000, lines, oracle).unwrap();
    println!("{malformed} malformed, {compared} compared");
    assert!(malformed > 20_000 && compared > 2_000);
}

#[test]
fn other_writings_of_a_frame_mean_the_same() {
    let (mut session, originals) = everything();
    let frames: Vec<OwnedFrame> = originals.iter().cycle().take(originals.len() * 5).cloned().collect();
    // Other forms of a number may have other scales.
    let lines = |session: &mut Session<Deribit>, frame: &OwnedFrame| {
        fresh(session);
        let lines = session.frame_lines(frame);
        let notes = lines.iter().filter_map(|line| line.get("note").cloned());
        comparable(&lines).into_iter().chain(notes).collect()
    };
    compare_rewritten(&mut session, &frames, lines).unwrap();
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
