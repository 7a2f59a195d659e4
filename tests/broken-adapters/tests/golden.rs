//! The sound adapter makes of its frames what the golden output says: whatever the suite finds in the others is their fault.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use marketprism_adapter_sdk::testkit::golden;
use marketprism_broken_adapters::Broken;

// Goal and method: the test kit's golden comparison, natively.
#[test]
fn the_sound_adapter_is_sound() {
    assert_eq!(golden::<Broken>(Path::new(env!("CARGO_MANIFEST_DIR"))), Ok(4));
}
