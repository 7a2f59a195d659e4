//! Sources of a report. Each query has its own timeout, and gives a reason as text when it stays without an answer.

pub mod broker;
mod connect;
pub mod gaps;
pub mod replication;
mod schema;
pub mod servers;
pub mod tables;
pub mod verdicts;

pub use connect::{Answer, Sources, within};
pub use schema::SchemaCache;
