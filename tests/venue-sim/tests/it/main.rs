//! The simulator over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

mod books;
mod bybit;
mod client;
mod deribit;
mod deribit_rest;
mod events;
mod faults;
mod kraken;
mod limits;
mod okx;
mod protocol;
mod recordings;
mod transport;
