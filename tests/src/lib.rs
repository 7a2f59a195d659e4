//! The end-to-end harness: real processes of every part, each test with its own ports, folders and streams.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

pub mod broker;
pub mod central;
pub mod clickhouse;
pub mod edge;
pub mod number;
pub mod parts;
pub mod process;
pub mod stack;
pub mod wait;
