//! Central against a real broker and a real ClickHouse engine: every event once, whatever stops in between.
//!
//! Needs `nats-server` (`MARKETPRISM_NATS_SERVER` or the install's cache), the engine's server `marketprism-clickhouse` beside the binary
//! under test, and its library (`MARKETPRISM_LIBCHDB` or the install's cache). Without them the tests say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod crashes;
mod events;
mod ingest;
mod layout;
mod measure;
mod migrations;
mod outages;
mod poison;
mod repair;
mod replication;
mod report;
mod stack;
mod two_sides;
