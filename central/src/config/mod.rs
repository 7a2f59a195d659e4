//! `central.toml`, one file a section.

mod batch;
mod central;
mod clickhouse;
mod http;
mod replication;
mod streams;

pub use batch::BatchLimits;
pub use central::Config;
pub use clickhouse::{ClickHouse, Server};
pub use http::Http;
pub use replication::{Method, Replication, Start};
pub use streams::Stream;
