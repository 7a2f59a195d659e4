//! The central server: JetStream to ClickHouse, every event exactly once.
//!
//! Modules use one another in one direction, written in `tests/tidy/src/order.rs`.

mod ab_latency;
mod adapters;
mod books;
mod broker;
mod cli;
mod config;
mod context;
mod copy_marks;
mod coverage;
mod diagnose;
mod dropped_rows;
mod failing_views;
#[cfg(test)]
mod fixtures;
mod fleet;
mod http;
mod ingest;
mod init;
mod lease;
mod ledger;
mod limits;
mod metrics;
mod recorded_losses;
mod repair;
mod replicator;
mod report;
mod role;
mod row;
mod run;
mod running_inserts;
mod seq_range;
mod server_clock;
mod shared_answer;
mod sql;
mod status;
mod storage;
mod time;
mod validation;
mod watermark;

pub use cli::main;
use marketprism_service::clock;
