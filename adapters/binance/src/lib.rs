//! Adapter for Binance spot (`binance_spot`) and Binance USD-M futures (`binance_derivatives`): trades and
//! order books; of the futures also funding rates, open interest, liquidations and long/short ratios.
//!
//! `VENUE.md` beside this crate names the source of every rule of the venue that the code follows.

mod adapter;
mod book;
mod control;
mod exchange;
mod exchange_info;
mod funding;
mod instruments;
mod liquidation;
mod plan;
mod polled;
mod polls;
mod sides;
mod snapshot;
mod stream;
mod trade;

pub use adapter::Binance;

marketprism_adapter_sdk::export_adapter!(Binance);
