//! Binance spot and USD-M futures, as of November 2026.

mod control;
mod derived;
mod encode;
mod instruments;
mod rest;
mod streams;
mod venue;

pub use venue::Binance;
