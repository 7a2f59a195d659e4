//! `central.toml` on serde types.

mod central;
mod clickhouse;
mod http;
mod partition;
mod replication;
mod sections;

pub use central::Config;
pub use clickhouse::{ClickHouse, Server};
pub use http::Http;
pub use partition::Partition;
pub use replication::{Method, Start};
pub use sections::{BatchLimits, LeaseTimes, Stream};
