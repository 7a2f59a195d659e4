//! Sources of a report. Each query has its own timeout, and gives a reason as text when it stays without an answer.

mod connect;
pub mod corrections;
pub mod edges;
pub mod latency;
pub mod ledger;
pub mod selftest;
pub mod systems;
pub mod tables;

pub use connect::{Answer, Sources, within};
pub use systems::SchemaCache;
