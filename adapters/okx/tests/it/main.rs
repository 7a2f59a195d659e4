//! The adapter run natively: golden frames, refusals, instruments and plans.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod contract;
mod oracle;
mod plan;
mod ranking;
mod recordings;

use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::Feed;

marketprism_adapter_sdk::adapter_tests!(Okx, at least 15 golden cases);

fn without_options(exchange: &str, symbols: &[&str]) -> Feed {
    Feed { market_types: Vec::new(), ..feed(exchange, symbols) }
}
