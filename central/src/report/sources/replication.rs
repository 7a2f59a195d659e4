//! The window log and the watermarks of cold.

use std::collections::BTreeMap;

use clickhouse::Row;
use serde::Deserialize;

use super::{Part, Sources, within};
use crate::report::bins::Bins;
use crate::report::document::WorstWindow;
use crate::report::{Scope, Time};

/// Windows of the copy, of one table and bin.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct CopiedBin {
    /// The table.
    pub table_name: String,
    /// The bin, from 0.
    pub bin: u32,
    /// Windows by state.
    pub verified: u64,
    /// See `verified`.
    pub mismatch: u64,
    /// See `verified`.
    pub failed: u64,
    /// See `verified`.
    pub open: u64,
}

/// How far a table is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// Everything stored before this is in cold, or logged as different.
    pub upto: Time,
    /// The newest row of hot when that was written.
    pub hot_newest: Option<Time>,
}

/// Counts the windows.
pub async fn bins(sources: &Sources, scope: &Scope, bins: &Bins) -> Part<Vec<CopiedBin>> {
    let sql = format!(
        "SELECT table_name, toUInt32(intDiv(toUnixTimestamp(window_start) - {start}, {bin})) AS bin, \
         countIf(state = 'verified') AS verified, countIf(state = 'mismatch') AS mismatch, \
         countIf(state = 'failed') AS failed, countIf(state = 'open') AS open \
         FROM {database}.window_log FINAL WHERE {within}{only} GROUP BY table_name, bin",
        start = bins.start_ms / 1_000,
        bin = bins.seconds,
        database = sources.cold.database,
        within = within("window_start", scope.from.0, scope.to.0),
        only = only(scope),
    );
    sources.rows::<CopiedBin>(&sources.cold, &sql).await
}

fn only(scope: &Scope) -> String {
    scope.table.map(|table| format!(" AND table_name = '{table}'")).unwrap_or_default()
}

#[derive(Debug, Row, Deserialize)]
struct Named {
    table_name: String,
    window_ms: i64,
    window_seconds: u16,
    state: String,
    reason: String,
    hot_rows: u64,
    cold_rows: u64,
}

/// Names the windows that differ or could not be copied.
pub async fn worst(sources: &Sources, scope: &Scope, limit: usize) -> Part<Vec<WorstWindow>> {
    let sql = format!(
        "SELECT table_name, toUnixTimestamp64Milli(window_start) AS window_ms, window_seconds, state, \
         leftUTF8(reason, 500) AS reason, rows AS hot_rows, cold_rows FROM {}.window_log FINAL WHERE {}{} \
         AND state IN ('mismatch', 'failed') ORDER BY state != 'mismatch', window_start DESC, table_name \
         LIMIT {limit}",
        sources.cold.database,
        within("window_start", scope.from.0, scope.to.0),
        only(scope),
    );
    let rows = sources.rows::<Named>(&sources.cold, &sql).await?;
    let window = |row: Named| WorstWindow {
        kind: "replication",
        of: row.table_name,
        edge: String::new(),
        window_start: Time(row.window_ms),
        window_seconds: row.window_seconds.into(),
        state: row.state,
        reason: row.reason,
        expected: row.hot_rows,
        found: row.cold_rows,
    };
    Ok(rows.into_iter().map(window).collect())
}

#[derive(Debug, Row, Deserialize)]
struct Mark {
    table_name: String,
    upto_ms: i64,
    newest_ms: i64,
}

/// How far each table is copied.
pub async fn watermarks(sources: &Sources) -> Part<BTreeMap<String, Watermark>> {
    let sql = format!(
        "SELECT table_name, toUnixTimestamp64Milli(upto) AS upto_ms, \
         toUnixTimestamp64Milli(hot_newest) AS newest_ms FROM {}.watermarks FINAL",
        sources.cold.database
    );
    let rows = sources.rows::<Mark>(&sources.cold, &sql).await?;
    let mark = |row: Mark| {
        let mark = Watermark { upto: Time(row.upto_ms), hot_newest: Time::some(row.newest_ms) };
        (row.table_name, mark)
    };
    Ok(rows.into_iter().map(mark).collect())
}
