//! Harness of the end-to-end tests: real processes of every part, each test with its own ports, folders and streams.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    // Used by this repository's tests only.
    missing_docs
)]

pub mod broker;
pub mod central;
pub mod clickhouse;
pub mod compiled_adapters;
pub mod edge;
pub mod figures;
pub mod journal_file;
pub mod laid_out;
pub mod link;
pub mod nats_files;
pub mod number;
pub mod pairs;
pub mod parts;
pub mod printed;
pub mod process;
pub mod stack;
pub mod trace_collector;
pub mod wait;
