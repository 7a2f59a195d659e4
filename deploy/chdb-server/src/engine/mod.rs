//! The embedded engine: library, connections, and the pool of threads that runs queries.

mod connection;
mod ffi;
mod grants;
mod pool;
mod statement;

pub use connection::{Connection, Engine, EngineOptions};
pub use ffi::{Library, LoadError};
pub use pool::{CancelGuard, Job, Lane, Pool, PoolFull};
pub use statement::{Code, Counts, EngineError, QueryResult, Statement};
