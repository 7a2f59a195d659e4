//! `central.toml` on serde types.

mod central;
mod clickhouse;
mod replication;
mod sections;

pub use central::Config;
pub use clickhouse::{ClickHouse, Server};
pub use replication::{Method, Start};
pub use sections::{BatchLimits, LeaseTimes, Stream};
