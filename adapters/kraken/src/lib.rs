//! Adapter for Kraken spot (`kraken_spot`): trades, and order books with the venue's live checksum.
//!
//! `VENUE.md` beside this crate names the source of every rule of the venue that the code follows.

mod adapter;
mod describe;
mod instruments;
mod normalize;
mod plan;
mod time;

pub use adapter::{Functions, Kraken};

marketprism_adapter_sdk::export_adapter!(Kraken);
