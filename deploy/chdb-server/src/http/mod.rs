//! ClickHouse's HTTP interface.

mod body;
mod compression;
mod execute;
mod handler;
mod native_rewriter;
mod places;
mod request;
mod response;
mod server;
mod spool;

pub use handler::{EngineInfo, Service, ServiceOptions};
pub use server::serve;
pub use spool::SpoolSpace;
