//! Tests of the real server process; skipped without the engine's library, but in `make test`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod clients;
mod doors;
mod interface;
mod load;
mod refusals;
mod server;
