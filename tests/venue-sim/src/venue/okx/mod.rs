//! OKX (spot, and swaps, futures and options), as of November 2026.

mod control;
mod encode;
mod instruments;
mod rest;
mod rubik;
mod streams;
mod venue;

pub use venue::Okx;
