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

mod auditing;
mod cluster;
mod copies;
mod crashes;
mod events;
mod ingest;
mod layout;
mod ledger;
mod ledger_faults;
mod ledger_feeds;
mod link;
mod losses;
mod migrations;
mod nats;
mod outages;
mod partitions;
mod poison;
mod publisher;
mod repair;
mod replication;
mod report;
mod running;
mod sharing;
mod stack;
mod stopped;
mod two_sides;
