//! Central against a real broker and a real ClickHouse engine: every event exactly once, whatever fails in between.
//!
//! Needs `nats-server` and `libchdb.so` (see `marketprism_tests::parts`; without them the tests say SKIPPED and pass, but fail in `make test`),
//! and the binary `marketprism-clickhouse` of the same build profile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod auditing;
mod books;
mod clocks;
mod commands;
mod copies;
mod corrections;
mod events;
mod http_proxies;
mod ingest;
mod layout;
mod ledger;
mod ledger_faults;
mod losses;
mod migrations;
mod outages;
mod packed;
mod partitions;
mod pending_corrections;
mod readme_queries;
mod refusals;
mod repair;
mod replication;
mod report;
mod rest;
mod restores;
mod restores_together;
mod shared_stream;
mod sharing;
mod stack;
mod stopped;
mod two_sides;
