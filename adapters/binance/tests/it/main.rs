//! The adapter run natively: golden frames, refusals, instruments and plans.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod backfill;
mod contract;
mod oracle;
mod plan;
mod ranking;
mod recordings;

use marketprism_adapter_binance::Binance;

marketprism_adapter_sdk::adapter_tests!(Binance, at least 14 golden cases);
