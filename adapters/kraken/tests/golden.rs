//! The captured frames give the golden output.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use marketprism_adapter_kraken::Kraken;
use marketprism_adapter_sdk::testkit;
use std::path::Path;

// Goal: frames mean what `expected/` says, whatever the batch size. Method: every file of `frames/`, in batches of 1, 16 and 64.
#[test]
fn frames_give_the_golden_output() {
    testkit::golden::<Kraken>(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
}
