//! Input and result of one query.

use std::time::Duration;

use super::EngineError;

/// One query and everything that applies while it runs; nothing carries over to the next query.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    pub text: Vec<u8>,
    /// Output format where the text names none.
    pub format: String,
    /// Database of unqualified names; `None`: the engine's `default`.
    pub database: Option<String>,
    pub settings: Vec<(String, String)>,
    /// Values of `{name:Type}` placeholders.
    pub parameters: Vec<(String, String)>,
    /// The client's id of the query, written to its `log_comment`: the engine assigns ids of its own.
    pub query_id: String,
    /// Rejects statements that change data; settings of the query stay allowed.
    pub read_only: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub read_rows: u64,
    /// Uncompressed.
    pub read_bytes: u64,
    pub written_rows: u64,
    /// Uncompressed.
    pub written_bytes: u64,
    pub result_rows: u64,
    /// In memory.
    pub result_bytes: u64,
    pub elapsed: Duration,
}

/// Counts or error of a query.
#[derive(Debug)]
pub struct QueryResult {
    pub result: Result<Counts, EngineError>,
    /// Result bytes of a statement whose output was not sent to a file.
    pub bytes: Vec<u8>,
}
