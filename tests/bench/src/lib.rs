//! Measurements of the whole pipeline and of its stages, each with its goal.

pub mod adapter;
pub mod edge;
pub mod engine;
pub mod goal;
pub mod ingest;
pub mod ledger;
pub mod replication;
pub mod report;
pub mod sample;
pub mod wire;
