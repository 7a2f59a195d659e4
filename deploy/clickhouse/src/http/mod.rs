//! ClickHouse's HTTP interface.

mod body;
mod compression;
mod error;
mod framing;
mod handler;
mod insert;
mod multipart;
mod native;
mod request;
mod response;
mod run;
mod server;
mod stall;

pub use handler::{Service, ServiceOptions};
pub use insert::SpoolSpace;
pub use server::serve;
