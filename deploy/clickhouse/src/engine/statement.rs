//! What a query needs besides its text, and what it gives.

use std::time::Duration;

use super::EngineError;

/// One query with everything that must hold while it runs. Nothing of it stays for the next query.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    /// The query text, one statement.
    pub text: Vec<u8>,
    /// Output format where the text names none.
    pub format: String,
    /// Database of unqualified names; the engine's `default` when absent.
    pub database: Option<String>,
    /// Settings of this query, in the order they were given.
    pub settings: Vec<(String, String)>,
    /// Values of `{name:Type}` placeholders.
    pub parameters: Vec<(String, String)>,
    /// The id the client knows the query by; written to the query's `log_comment`, because the engine gives
    /// its own ids.
    pub query_id: String,
    /// Refuse everything that changes data (settings of the query stay allowed).
    pub read_only: bool,
}

/// Rows and bytes of a finished query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows read from tables.
    pub read_rows: u64,
    /// Bytes read from tables, uncompressed.
    pub read_bytes: u64,
    /// Rows written, materialized views included.
    pub written_rows: u64,
    /// Bytes written, uncompressed.
    pub written_bytes: u64,
    /// Rows of the result.
    pub result_rows: u64,
    /// Bytes of the result in memory.
    pub result_bytes: u64,
    /// Time the engine took.
    pub elapsed: Duration,
}

/// What became of a query.
#[derive(Debug)]
pub struct Outcome {
    /// Counts, or why it failed.
    pub result: Result<Counts, EngineError>,
    /// Result bytes of a statement whose output was not sent to a file.
    pub bytes: Vec<u8>,
}
