//! Measurements of the whole line and of its hops, each against the goal it has to reach.

pub mod adapter;
pub mod bare;
pub mod edge;
pub mod engine;
pub mod goal;
pub mod ingest;
pub mod ledger;
pub mod native;
pub mod replication;
pub mod report;
pub mod sample;
pub mod venue;
pub mod wire;
