//! Adapter for Binance spot (`binance_spot`) and Binance USD-M futures (`binance_derivatives`): trades and
//! order books.
//!
//! `VENUE.md` beside this crate names the source of every rule of the venue that the code follows.

mod adapter;
mod book;
mod control;
mod exchange;
mod exchange_info;
mod instruments;
mod plan;
mod sides;
mod snapshot;
mod stream;
mod trade;

pub use adapter::Binance;

marketprism_adapter_sdk::export_adapter!(Binance);
