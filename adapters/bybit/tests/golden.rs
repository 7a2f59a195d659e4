//! The frames give the golden output.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use marketprism_adapter_bybit::Bybit;
use marketprism_adapter_sdk::testkit;
use std::path::Path;

// Goal: frames mean what `expected/` says, whatever the batch size. Method: every file of `frames/`, in
// batches of 1, 16 and 64.
#[test]
fn frames_give_the_golden_output() {
    let cases = testkit::golden::<Bybit>(Path::new(env!("CARGO_MANIFEST_DIR")));
    let cases = cases.unwrap_or_else(|faults| panic!("{faults}"));
    assert!(cases >= 10, "{cases} cases");
}
