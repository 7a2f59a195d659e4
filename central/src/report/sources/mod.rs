//! What a report is made from. Each question has its own time limit, and a reason in words when it stays without an answer.

mod ask;
pub mod broker;
pub mod gaps;
pub mod replication;
pub mod schema;
pub mod servers;
pub mod tables;
pub mod verdicts;

pub use ask::{Part, Sources, moment, within};
