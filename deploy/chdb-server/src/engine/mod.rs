//! The embedded engine: library, connections, and the pool of threads that runs queries.

mod cancel;
mod connection;
mod error;
mod ffi;
mod pool;
mod statement;

pub use cancel::{CancelGuard, JobState};
pub use connection::{Connection, Engine, EngineOptions};
pub use error::{Code, EngineError};
pub use ffi::{Library, LoadError};
pub use pool::{Job, Pool, PoolFull};
pub use statement::{Counts, QueryResult, Statement};
