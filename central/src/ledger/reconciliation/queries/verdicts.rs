//! Verdicts as stored, dead letters and lost messages.

use std::collections::HashMap;

use marketprism_schema::{Capability, DEAD_LETTERS, StreamId};
use serde::Deserialize;

use super::super::verdict::{IdRange, VerdictState, WindowVerdict};
use super::{EdgeStream, WindowKey, fetch, within_millis};
use crate::ledger::windows::WindowRange;
use crate::sql::{self, SUBJECT};
use crate::storage::{Storage, StorageError};

#[derive(Debug, clickhouse::Row, Deserialize)]
struct VerdictRow {
    window_ms: i64,
    #[serde(deserialize_with = "sql::known_stream")]
    stream: Option<StreamId>,
    edge: String,
    state: String,
    reason: String,
    expected: u64,
    found: u64,
    duplicates: u64,
    conflated: u64,
    gaps: u32,
    missing: u64,
    causes: Vec<String>,
    numbering: String,
    completeness: String,
    delay_seconds: u32,
    stored_ids: Vec<IdRange>,
    is_early: bool,
}

pub async fn verdicts(
    storage: &Storage,
    range: WindowRange,
) -> Result<HashMap<WindowKey, WindowVerdict>, StorageError> {
    let query = format!(
        "SELECT toUnixTimestamp64Milli(window_start) AS window_ms, {SUBJECT} AS stream, toString(edge) AS edge, \
         toString(state) AS state, reason, expected, found, duplicates, conflated, gaps, missing, \
         arrayMap(cause -> toString(cause), causes) AS causes, toString(numbering) AS numbering, \
         toString(completeness) AS completeness, delay_seconds, stored_ids, is_early FROM {}.verdicts FINAL WHERE {}",
        storage.database,
        within_millis("window_start", range)
    );
    let rows: Vec<VerdictRow> = fetch(storage, &query).await?;
    let verdict = |row: VerdictRow| {
        let key =
            (row.window_ms.saturating_mul(1_000_000), EdgeStream { stream: row.stream?, edge: row.edge });
        let verdict = WindowVerdict {
            state: VerdictState::named(&row.state)?,
            reason: row.reason,
            expected: row.expected,
            found: row.found,
            duplicates: row.duplicates,
            conflated: row.conflated,
            gaps: row.gaps,
            missing: row.missing,
            causes: row.causes,
            capability: Capability {
                numbering: row.numbering.parse().ok()?,
                completeness: row.completeness.parse().ok()?,
                delay_seconds: row.delay_seconds,
            },
            stored_ids: row.stored_ids,
            is_early: row.is_early,
        };
        Some((key, verdict))
    };
    Ok(rows.into_iter().filter_map(verdict).collect())
}

/// Number of windows by state, from a time on (nanoseconds).
pub async fn counts_by_state(storage: &Storage, from_ns: i64) -> Result<HashMap<String, u64>, StorageError> {
    let query = format!(
        "SELECT toString(state) AS state, count() AS windows FROM {}.verdicts FINAL WHERE window_start >= {} \
         GROUP BY state",
        storage.database,
        sql::millis(from_ns.div_euclid(1_000_000))
    );
    let rows: Vec<(String, u64)> = fetch(storage, &query).await?;
    Ok(rows.into_iter().collect())
}

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
