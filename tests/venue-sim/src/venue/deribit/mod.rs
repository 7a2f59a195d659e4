//! Deribit (perpetuals, dated futures, options, volatility indices), as of November 2026.

mod control;
mod encode;
mod forced;
mod instruments;
mod names;
mod rest;
mod rpc;
mod streams;
mod venue;

pub use venue::Deribit;
