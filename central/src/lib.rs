//! The central server: JetStream to ClickHouse, every event exactly once.
//!
//! Order of the modules (each may use those after it, never those before): cli; run; http; diagnose; report; repair; ledger;
//! replicator; ingest; context; coverage, init, watermark; lease; sql, storage; broker, metrics, status; row; time; config; limits.
#![allow(missing_docs, reason = "a binary: nothing outside builds on its items")]

mod broker;
mod cli;
mod config;
mod context;
mod coverage;
mod diagnose;
#[cfg(test)]
mod fixtures;
mod http;
mod ingest;
mod init;
mod lease;
mod ledger;
mod limits;
mod metrics;
mod repair;
mod replicator;
mod report;
mod role;
mod row;
mod run;
mod sql;
mod status;
mod storage;
mod time;
mod watermark;

pub use cli::main;
use marketprism_service::clock;
