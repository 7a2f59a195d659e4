//! The adapter run natively: golden frames, refusals, instruments and plans.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod backfill;
mod contract;
mod oracle;
mod plan;
mod ranking;
mod recordings;

use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_sdk::testkit;
use marketprism_adapter_sdk::{Adapter, Answer, DataType, Feed, Instrument};

marketprism_adapter_sdk::adapter_tests!(Deribit, at least 10 golden cases);

const EXCHANGE: &str = "deribit_derivatives";

fn answers() -> Vec<Answer> {
    testkit::answers(records(EXCHANGE).into_iter().map(|record| record.data))
}

/// No options; all data types where none is named.
fn feed_of(symbols: &[&str], data_types: &[DataType]) -> Feed {
    let whole = feed(EXCHANGE, symbols);
    let data_types = if data_types.is_empty() { whole.data_types } else { data_types.to_vec() };
    Feed { market_types: Vec::new(), data_types, ..whole }
}

fn many(count: usize) -> Vec<Instrument> {
    let one = Deribit::instruments(&feed_of(&["BTC-USD"], &[DataType::Trade]), answers()).unwrap().remove(0);
    let each = |number: usize| {
        let (symbol, venue_symbol) = (format!("A{number}-USD"), format!("A{number}-PERPETUAL"));
        Instrument { symbol, venue_symbol, ..one.clone() }
    };
    (0..count).map(each).collect()
}
