//! The adapter run natively: golden frames, refusals, instruments and plans.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod checksum;
mod contract;

use marketprism_adapter_kraken::Kraken;
use marketprism_adapter_sdk::Feed;
use marketprism_adapter_sdk::testkit::{self, RecordedMessage, Session};
use std::path::Path;

fn records(exchange: &str) -> Vec<RecordedMessage> {
    testkit::instrument_records(env!("CARGO_MANIFEST_DIR"), exchange).unwrap()
}

fn feed(exchange: &str, symbols: &[&str]) -> Feed {
    testkit::feed::<Kraken>(exchange, symbols).unwrap()
}

fn open(feed: &Feed) -> Session<Kraken> {
    Session::open(feed, &records(&feed.exchange)).unwrap()
}

// Several batch sizes. `MARKETPRISM_BLESS=1` rewrites the golden output, for review.
#[test]
fn frames_give_the_golden_output() {
    let cases = testkit::golden::<Kraken>(Path::new(env!("CARGO_MANIFEST_DIR")));
    let cases = cases.unwrap_or_else(|differences| panic!("{differences}"));
    assert!(cases >= 1, "{cases} cases");
}
