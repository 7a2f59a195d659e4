//! What the edge promises, tested through its public parts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

mod asked;
mod auditing;
mod configuration;
mod nats_server;
mod pages;
mod polling;
mod publishing;
mod routing;
