//! Window log and watermarks of the replication, tables in cold.

use std::collections::BTreeMap;

use clickhouse::Row;
use serde::Deserialize;

use super::{Answer, Sources, within};
use crate::report::buckets::TimeBuckets;
use crate::report::document::WorstWindow;
use crate::report::{ReportScope, Time};

/// Replication windows of one table and bucket, by state.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct ReplicationBucket {
    pub table_name: String,
    pub bucket: u32,
    pub verified: u64,
    pub mismatch: u64,
    pub failed: u64,
    pub open: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableWatermark {
    /// Everything stored before is in cold or logged as different.
    pub upto: Time,
    pub hot_newest: Option<Time>,
}

pub async fn counts(
    sources: &Sources,
    scope: &ReportScope,
    buckets: &TimeBuckets,
) -> Answer<Vec<ReplicationBucket>> {
    let sql = format!(
        "SELECT table_name, {bucket} AS bucket, \
         countIf(state = 'verified') AS verified, countIf(state = 'mismatch') AS mismatch, \
         countIf(state = 'failed') AS failed, countIf(state = 'open') AS open \
         FROM {database}.window_log FINAL WHERE {within}{only} GROUP BY table_name, bucket",
        bucket = buckets.number_sql(),
        database = sources.cold.database,
        within = within("window_start", scope.from.0, scope.to.0),
        only = only(scope),
    );
    sources.rows::<ReplicationBucket>(&sources.cold, &sql).await
}

fn only(scope: &ReportScope) -> String {
    scope.table.map(|table| format!(" AND table_name = '{table}'")).unwrap_or_default()
}

#[derive(Debug, Row, Deserialize)]
struct LoggedWindowRow {
    table_name: String,
    window_ms: i64,
    window_seconds: u16,
    state: String,
    reason: String,
    hot_rows: u64,
    cold_rows: u64,
}

/// Windows that differ or could not be copied.
pub async fn worst(sources: &Sources, scope: &ReportScope, limit: usize) -> Answer<Vec<WorstWindow>> {
    let sql = format!(
        "SELECT table_name, toUnixTimestamp64Milli(window_start) AS window_ms, window_seconds, state, \
         leftUTF8(reason, 500) AS reason, rows AS hot_rows, cold_rows FROM {}.window_log FINAL WHERE {}{} \
         AND state IN ('mismatch', 'failed') ORDER BY state != 'mismatch', window_start DESC, table_name \
         LIMIT {limit}",
        sources.cold.database,
        within("window_start", scope.from.0, scope.to.0),
        only(scope),
    );
    let rows = sources.rows::<LoggedWindowRow>(&sources.cold, &sql).await?;
    let window = |row: LoggedWindowRow| WorstWindow {
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
struct WatermarkRow {
    table_name: String,
    upto_ms: i64,
    newest_ms: i64,
}

pub async fn watermarks(sources: &Sources) -> Answer<BTreeMap<String, TableWatermark>> {
    let sql = format!(
        "SELECT table_name, toUnixTimestamp64Milli(upto) AS upto_ms, \
         toUnixTimestamp64Milli(hot_newest) AS newest_ms FROM {}.watermarks FINAL",
        sources.cold.database
    );
    let rows = sources.rows::<WatermarkRow>(&sources.cold, &sql).await?;
    let mark = |row: WatermarkRow| {
        let mark = TableWatermark { upto: Time(row.upto_ms), hot_newest: Time::some(row.newest_ms) };
        (row.table_name, mark)
    };
    Ok(rows.into_iter().map(mark).collect())
}
