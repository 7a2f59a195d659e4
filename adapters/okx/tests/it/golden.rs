use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::testkit;
use std::path::Path;

// Several batch sizes. `MARKETPRISM_BLESS=1` rewrites the golden output, for review.
#[test]
fn frames_give_the_golden_output() {
    let cases = testkit::golden::<Okx>(Path::new(env!("CARGO_MANIFEST_DIR")));
    let cases = cases.unwrap_or_else(|differences| panic!("{differences}"));
    assert!(cases >= 15, "{cases} cases");
}
