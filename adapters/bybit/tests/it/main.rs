//! The adapter run natively: golden frames, refusals, instruments and plans.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod contract;
mod plan;
mod ranking;
mod ticker;

use marketprism_adapter_bybit::Bybit;

marketprism_adapter_sdk::adapter_tests!(Bybit, at least 10 golden cases);
