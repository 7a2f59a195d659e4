//! The conformance suite and the checks of a swap find the fault of each broken adapter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod faults;
mod golden;
mod swaps;
