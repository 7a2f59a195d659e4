//! The adapter reads damaged and rewritten frames as an independent calculation does.
//!
//! `tests/suites/recordings` compares whole recordings, books and their checksums included, through `replay`.

use crate::oracle::Oracle;
use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::testkit::{
    self, OwnedFrame, RecordKind, RecordedMessage, Session, compare_damaged, compare_rewritten,
    has_huge_number, shared_recording,
};
use marketprism_adapter_sdk::{Feed, MarketType};

const EXCHANGES: [&str; 2] = ["okx_spot", "okx_derivatives"];

fn session(exchange: &str, records: &[RecordedMessage]) -> Session<Okx> {
    let whole = testkit::whole_feed::<Okx>(exchange).unwrap();
    // The recording has no list of options.
    let mut market_types = whole.market_types.clone();
    market_types.retain(|market_type| *market_type != MarketType::Options);
    Session::open(&Feed { market_types, ..whole }, records).unwrap()
}

#[test]
fn damaged_frames_never_become_other_events() {
    let Some(records) = shared_recording("okx.jsonl").map(Result::unwrap) else {
        return println!("SKIPPED: no recording");
    };
    for exchange in EXCHANGES {
        let mut session = session(exchange, &records);
        let lists = records.iter().filter(|record| record.kind == RecordKind::Rest);
        let calculated = Oracle::new(lists.map(|record| record.data.as_str()), exchange);
        let frames = session.frames(&records);
        let oracle = |_: &_, frame: &OwnedFrame| {
            (!has_huge_number(&frame.bytes)).then(|| calculated.events(&frame.bytes).unwrap_or_default())
        };
        let (malformed, compared) =
            compare_damaged(&mut session, &frames, 40_000, Session::frame_lines, oracle).unwrap();
        println!("{exchange}: {malformed} malformed, {compared} compared");
        assert!(malformed > 10_000 && compared > 500);
    }
}

#[test]
fn other_writings_of_a_frame_mean_the_same() {
    let Some(records) = shared_recording("okx.jsonl").map(Result::unwrap) else {
        return println!("SKIPPED: no recording");
    };
    for exchange in EXCHANGES {
        let mut session = session(exchange, &records);
        let frames = session.frames(&records);
        compare_rewritten(&mut session, &frames, Session::frame_lines).unwrap();
    }
}
