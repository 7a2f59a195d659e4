//! ClickHouse's HTTP interface served from the embedded engine `libchdb.so`, for the one-machine stack.
//!
//! A request becomes one statement on a fresh connection of the engine. Rows pass through file descriptors
//! that the engine opens as `/proc/self/fd/N`: results through a pipe (`INTO OUTFILE`), never whole in
//! memory, so that a slow client slows its query down; inserted data from a memory file (`FROM INFILE`), so
//! that only complete inserts run.

pub mod access;
pub mod config;
pub mod engine;
pub mod http;
pub mod limits;
pub mod memory;
pub mod run;
pub mod sandbox;
pub mod sql;
