//! ClickHouse's HTTP interface.

mod body;
mod compression;
mod error;
mod execute;
mod framing;
mod handler;
mod multipart;
mod native_rewriter;
mod request;
mod response;
mod server;
mod spool;
mod write_timeout;

pub use handler::{Service, ServiceOptions};
pub use server::serve;
pub use spool::SpoolSpace;
