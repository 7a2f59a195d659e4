//! The sound adapter gives the golden output natively, so every finding in the others is their fault.

use std::path::Path;

use marketprism_adapter_sdk::testkit::golden;
use marketprism_broken_adapters::Broken;

#[test]
fn the_sound_adapter_gives_the_golden_output() {
    assert_eq!(golden::<Broken>(Path::new(env!("CARGO_MANIFEST_DIR"))), Ok(5));
}
