//! The adapter run natively: golden frames, refusals, instruments and plans.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod checksum;
mod contract;
mod ranking;

use marketprism_adapter_kraken::Kraken;

marketprism_adapter_sdk::adapter_tests!(Kraken, at least 1 golden cases);
