//! ClickHouse's HTTP interface.

mod body;
mod compression;
mod cors;
mod execute;
mod framing;
mod handler;
mod head;
mod native_rewriter;
mod places;
mod refusals;
mod request;
mod response;
mod server;
mod spool;

pub use handler::{EngineInfo, Service, ServiceOptions};
pub use refusals::RefusalCounts;
pub use server::serve;
pub use spool::SpoolSpace;
