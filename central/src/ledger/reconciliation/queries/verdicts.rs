//! Verdicts as stored.

use std::collections::HashMap;

use marketprism_schema::StreamId;
use serde::Deserialize;

use super::super::verdict::WindowVerdict;
use super::{EdgeStream, WindowKey, fetch, within_millis};
use crate::ledger::verdict_state::VerdictState;
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
}

pub async fn verdicts(
    storage: &Storage,
    range: WindowRange,
) -> Result<HashMap<WindowKey, WindowVerdict>, StorageError> {
    let query = format!(
        "SELECT toUnixTimestamp64Milli(window_start) AS window_ms, {SUBJECT} AS stream, toString(edge) AS edge, \
         toString(state) AS state, reason, expected, found, duplicates, conflated, gaps, missing, \
         arrayMap(cause -> toString(cause), causes) AS causes FROM {}.verdicts FINAL WHERE {}",
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
