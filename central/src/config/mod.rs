//! `central.toml`, one file a section.

mod batch;
mod central;
mod clickhouse;
mod http;
mod lease;
mod ledger;
mod replication;
mod streams;

pub use batch::BatchLimits;
pub use central::Config;
pub use clickhouse::{ClickHouse, Server};
pub use http::Http;
pub use lease::LeaseTimes;
pub use ledger::Ledger;
pub use replication::{Method, Replication, Start};
pub use streams::Stream;
