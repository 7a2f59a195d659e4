//! Adapter for Deribit (`deribit_derivatives`): perpetuals, dated futures, options and the volatility indices.
//!
//! `VENUE.md` beside this crate names the source of every rule of the venue that the code follows.

mod adapter;
mod book;
mod channels;
mod contract;
mod control;
mod exchange;
mod instruments;
mod liquidation;
mod listing;
mod numbers;
mod plan;
mod rpc;
mod sides;
mod ticker;
mod trade;
mod volatility;

pub use adapter::Deribit;

marketprism_adapter_sdk::export_adapter!(Deribit);
