//! The adapter run natively: golden frames, refusals, instruments and plans.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod contract;
mod oracle;
mod plan;
mod recordings;

use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_sdk::testkit::{self, RecordedMessage, Session};
use marketprism_adapter_sdk::{Adapter, Answer, DataType, Feed, Instrument};
use std::path::Path;

const EXCHANGE: &str = "deribit_derivatives";

fn records() -> Vec<RecordedMessage> {
    testkit::instrument_records(env!("CARGO_MANIFEST_DIR"), EXCHANGE).unwrap()
}

fn answers() -> Vec<Answer> {
    testkit::answers(records().into_iter().map(|record| record.data))
}

/// Everything but options; all data types where none is named.
fn feed(symbols: &[&str], data_types: &[DataType]) -> Feed {
    let whole = testkit::feed::<Deribit>(EXCHANGE, symbols).unwrap();
    let data_types = if data_types.is_empty() { whole.data_types } else { data_types.to_vec() };
    Feed { market_types: Vec::new(), data_types, ..whole }
}

fn open(feed: &Feed) -> Session<Deribit> {
    Session::open(feed, &records()).unwrap()
}

fn many(count: usize) -> Vec<Instrument> {
    let one = Deribit::instruments(&feed(&["BTC-USD"], &[DataType::Trade]), answers()).unwrap().remove(0);
    let each = |number: usize| {
        let (symbol, venue_symbol) = (format!("A{number}-USD"), format!("A{number}-PERPETUAL"));
        Instrument { symbol, venue_symbol, ..one.clone() }
    };
    (0..count).map(each).collect()
}

// Several batch sizes. `MARKETPRISM_BLESS=1` rewrites the golden output, for review.
#[test]
fn frames_give_the_golden_output() {
    let cases = testkit::golden::<Deribit>(Path::new(env!("CARGO_MANIFEST_DIR")));
    let cases = cases.unwrap_or_else(|differences| panic!("{differences}"));
    assert!(cases >= 9, "{cases} cases");
}
