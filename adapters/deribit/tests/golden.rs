//! The adapter says of its captured frames what its golden files say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_sdk::testkit;
use std::path::Path;

// Goal: no change of the meaning of a frame goes unseen. Method: golden output of real and hand-made frames of every kind, at three
// batch sizes. `MARKETPRISM_BLESS=1` writes it anew, to be read in review.
#[test]
fn frames_mean_what_the_golden_files_say() {
    let cases = testkit::golden::<Deribit>(Path::new(env!("CARGO_MANIFEST_DIR")))
        .unwrap_or_else(|faults| panic!("{faults}"));
    assert!(cases >= 9, "{cases} cases");
}
