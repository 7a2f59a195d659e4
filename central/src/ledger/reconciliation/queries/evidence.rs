//! Dead letters and lost messages.

use marketprism_schema::{DEAD_LETTERS, StreamId};
use serde::Deserialize;

use super::{fetch, within_millis};
use crate::ledger::windows::WindowRange;
use crate::sql;
use crate::storage::{Storage, StorageError};

/// Most rows read of each kind; more would explain no better.
const ROWS_MAX: usize = 1_000;
/// Subjects per query: keeps it below the server's maximum query size (256 KiB).
const SUBJECTS_PER_QUERY: usize = 1_000;

#[derive(Debug, clickhouse::Row, Deserialize)]
pub struct DeadLetterRow {
    pub subject: String,
    pub message_id: String,
    pub reason: String,
    pub at_ms: i64,
}

#[derive(Debug, clickhouse::Row, Deserialize)]
pub struct LossRow {
    pub stream: String,
    pub from_seq: u64,
    pub to_seq: u64,
    pub messages: u64,
    pub cause: String,
    pub at_ms: i64,
}

pub async fn dead_letters(
    storage: &Storage,
    range: WindowRange,
    streams: impl Iterator<Item = &StreamId>,
) -> Result<Vec<DeadLetterRow>, StorageError> {
    let quoted: Vec<String> = streams.map(|stream| sql::quote(&stream.to_string())).collect();
    let mut letters = Vec::new();
    for some in quoted.chunks(SUBJECTS_PER_QUERY) {
        let query = format!(
            "SELECT subject, message_id, reason, toUnixTimestamp64Milli(created_at) AS at_ms \
             FROM {}.{DEAD_LETTERS} FINAL WHERE {} AND subject IN ({}) ORDER BY at_ms LIMIT {ROWS_MAX}",
            storage.database,
            within_millis("created_at", range),
            some.join(",")
        );
        letters.extend(fetch::<DeadLetterRow>(storage, &query).await?);
    }
    Ok(letters)
}

pub async fn losses(storage: &Storage, range: WindowRange) -> Result<Vec<LossRow>, StorageError> {
    let query = format!(
        "SELECT toString(stream) AS stream, from_seq, to_seq, messages, toString(cause) AS cause, \
         toUnixTimestamp64Milli(seen_at) AS at_ms FROM {}.losses FINAL WHERE {} ORDER BY at_ms LIMIT {ROWS_MAX}",
        storage.database,
        within_millis("seen_at", range)
    );
    fetch(storage, &query).await
}
