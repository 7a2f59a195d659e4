//! The adapter run natively: golden frames, refusals, instruments and plans.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod contract;
mod golden;
mod oracle;
mod plan;
mod recordings;

use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::Feed;
use marketprism_adapter_sdk::testkit::{self, RecordedMessage, Session};

fn records(exchange: &str) -> Vec<RecordedMessage> {
    testkit::instrument_records(env!("CARGO_MANIFEST_DIR"), exchange).unwrap()
}

fn feed(exchange: &str, symbols: &[&str]) -> Feed {
    testkit::feed::<Okx>(exchange, symbols).unwrap()
}

fn open(feed: &Feed) -> Session<Okx> {
    Session::open(feed, &records(&feed.exchange)).unwrap()
}
