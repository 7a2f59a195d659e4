//! The edge: it collects what venues publish, makes normalized events of it in sandboxed adapters, and sends them to the broker.
//!
//! Every event passes through socket, adapter, order book, envelope, journal and publisher; what is lost on the way is counted by
//! reason. No venue is named in this crate: adapters know them.

pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conformance;
pub mod coverage;
pub mod envelope;
pub mod feed;
pub mod http;
pub mod inspect;
pub mod journal;
pub mod limits;
pub mod log_limit;
pub mod metrics;
pub mod publisher;
pub mod record;
pub mod repair;
pub mod replay;
pub mod run;
