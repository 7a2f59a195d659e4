//! The edge: collects what venues publish, normalizes it in sandboxed adapters and publishes it to NATS JetStream.
//!
//! Modules use one another in one direction, written in `tests/tidy/src/order.rs`. No venue is named here: adapters know them.

pub mod audit;
pub mod books;
pub mod broker;
pub mod cli;
pub mod clocks;
pub mod config;
pub mod feed;
pub mod gaps;
pub mod http;
pub mod instance;
pub mod journal;
pub mod limits;
pub mod publisher;
pub mod queue;
pub mod raw;
pub mod recorder;
pub mod records;
pub mod reload;
pub mod renormalize;
pub mod replay;
pub mod run;
pub mod selfcare;
pub mod selftest;
pub mod swap;
pub mod telemetry;
