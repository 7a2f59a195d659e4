//! Adapter for Bybit spot (`bybit_spot`) and its linear contracts (`bybit_derivatives`).
//!
//! `VENUE.md` beside this crate names the source of every rule of the venue that the code follows.

mod adapter;
mod book;
mod describe;
mod instruments;
mod normalize;
mod plan;
mod ratio;
mod ticker;
mod values;

pub use adapter::{Bybit, Functions};

marketprism_adapter_sdk::export_adapter!(Bybit);
