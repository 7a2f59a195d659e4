//! Adapter for OKX spot (`okx_spot`) and OKX swaps, futures and options (`okx_derivatives`).
//!
//! `VENUE.md` beside this crate names the source of every rule of the venue that the code follows.

mod adapter;
mod book;
mod channel;
mod control;
mod exchange;
mod field;
mod frame;
mod funding;
mod instruments;
mod interest;
mod liquidation;
mod listing;
mod measure;
mod plan;
mod ratio;
mod requests;
mod sides;
mod trade;

pub use adapter::Okx;

marketprism_adapter_sdk::export_adapter!(Okx);
