//! What is fuzzed. A target takes any bytes, and panics when an invariant does not hold: that stops the fuzzer with the bytes that did it.
//!
//! The targets of the adapters run their native code, after a load with the instruments of their golden frames. `lifting` gives a real
//! sandbox results that are any bytes at all; `validation` gives the host's checks, and the order-book engine behind them, well-formed
//! results with any content.
#![allow(clippy::panic, reason = "a broken invariant has to stop the fuzzer")]

mod adapter;
mod invariants;
mod lifting;
mod reader;
mod seeds;
mod targets;
mod validation;

pub use seeds::seeds;
pub use targets::{TARGETS, Target};
