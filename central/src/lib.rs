//! The central server: JetStream to ClickHouse, every event exactly once.
//!
//! `init` lays out streams, consumers and tables; `run` takes the messages in. How a message becomes a row without loss or doubles is
//! told in `ingest`.

mod backoff;
mod broker;
mod cli;
mod clock;
mod config;
mod context;
mod coverage;
mod diagnose;
mod http;
mod ingest;
mod init;
mod lease;
mod ledger;
mod limits;
mod metrics;
mod provision;
mod rate;
mod repair;
mod replicator;
mod report;
mod role;
mod row;
mod run;
mod shutdown;
mod status;
mod storage;
mod time;
mod watermark;

pub use cli::main;
