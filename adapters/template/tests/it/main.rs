//! The adapter run natively: golden frames, refusals, instruments and plans.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod contract;

use marketprism_adapter_template::Template;

marketprism_adapter_sdk::adapter_tests!(Template, at least 6 golden cases);
