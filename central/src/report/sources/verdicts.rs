//! Verdicts of the ledger: one scan that counts them by stream, edge and bucket; then the worst by name.

use clickhouse::Row;
use marketprism_schema::StreamId;
use serde::Deserialize;

use super::{Answer, Sources, within};
use crate::report::buckets::TimeBuckets;
use crate::report::document::WorstWindow;
use crate::report::{ReportScope, Time};
use crate::sql::{self, SUBJECT};

/// Most groups read: 5,000 streams over 120 buckets, about 100 MB while they are added up.
const GROUPS_MAX: usize = 600_000;

/// Verdicts of one stream, edge and bucket, counted by state.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct VerdictBucket {
    #[serde(deserialize_with = "sql::stream_id")]
    pub stream: StreamId,
    pub edge: String,
    pub bucket: u32,
    pub verified: u64,
    pub mismatch: u64,
    pub unverifiable: u64,
    pub open: u64,
    /// Open windows long after their grace period.
    pub overdue: u64,
    /// Missing events that the audits' gaps name.
    pub missing: u64,
    pub duplicates: u64,
    pub conflated: u64,
    pub window_seconds: u16,
    /// Begin of the first window.
    pub first_ms: i64,
    /// Begin of the last window.
    pub last_ms: i64,
}

pub async fn read(
    sources: &Sources,
    scope: &ReportScope,
    buckets: &TimeBuckets,
    overdue_before_ms: i64,
) -> Answer<Vec<VerdictBucket>> {
    let query = format!(
        "SELECT {SUBJECT} AS stream, toString(edge) AS edge, {bucket} AS bucket, \
         countIf(state = 'verified') AS verified, countIf(state = 'mismatch') AS mismatch, \
         countIf(state = 'unverifiable') AS unverifiable, countIf(state = 'open') AS open, \
         countIf(state = 'open' AND window_start < {overdue}) AS overdue, sum(missing) AS missing, \
         sum(duplicates) AS duplicates, sum(conflated) AS conflated, max(window_seconds) AS window_seconds, \
         toUnixTimestamp64Milli(min(window_start)) AS first_ms, toUnixTimestamp64Milli(max(window_start)) AS last_ms \
         FROM {database}.verdicts FINAL WHERE {within}{only} \
         GROUP BY data_type, exchange, market_type, symbol, edge, bucket \
         LIMIT {GROUPS_MAX} SETTINGS do_not_merge_across_partitions_select_final = 1",
        bucket = buckets.number_sql(),
        overdue = sql::millis(overdue_before_ms),
        database = sources.hot.database,
        within = within("window_start", scope.from.0, scope.to.0),
        only = scope.data_type_sql(),
    );
    let rows = sources.rows::<VerdictBucket>(&sources.hot, &query).await?;
    // A truncated answer would look complete.
    if rows.len() >= GROUPS_MAX {
        return Err(format!(
            "more than {GROUPS_MAX} streams times buckets; choose one table or a shorter period"
        ));
    }
    Ok(rows)
}

#[derive(Debug, Row, Deserialize)]
struct UnverifiedWindowRow {
    stream: String,
    edge: String,
    window_ms: i64,
    window_seconds: u16,
    state: String,
    reason: String,
    expected: u64,
    found: u64,
}

/// Windows of the given buckets that are not verified. The table's key begins with the stream, so this reads little.
pub async fn worst(
    sources: &Sources,
    scope: &ReportScope,
    cells: &[(StreamId, i64, i64)],
    overdue_before_ms: i64,
    limit: usize,
) -> Answer<Vec<WorstWindow>> {
    let span = cells
        .iter()
        .fold((i64::MAX, i64::MIN), |(from, to), (_, begin, end)| (from.min(*begin), to.max(*end)));
    if cells.is_empty() {
        return Ok(Vec::new());
    }
    let of_cell = |(key, from, to): &(StreamId, i64, i64)| {
        let [data_type, exchange, market_type, symbol] = key.names().map(sql::quote);
        let within = within("window_start", *from, *to);
        format!(
            "(data_type = {data_type} AND exchange = {exchange} AND market_type = {market_type} AND \
             symbol = {symbol} AND {within})"
        )
    };
    let any: Vec<String> = cells.iter().map(of_cell).collect();
    let query = format!(
        "SELECT {SUBJECT} AS stream, edge, toUnixTimestamp64Milli(window_start) AS window_ms, \
         window_seconds, state, reason, expected, found FROM {database}.verdicts FINAL WHERE {within} AND ({any}) \
         AND (state IN ('mismatch', 'unverifiable') OR (state = 'open' AND window_start < {overdue})) \
         ORDER BY state != 'mismatch', window_start DESC, exchange, data_type, market_type, symbol, edge \
         LIMIT {limit} SETTINGS do_not_merge_across_partitions_select_final = 1",
        database = sources.hot.database,
        within = within("window_start", span.0.max(scope.from.0), span.1.min(scope.to.0)),
        any = any.join(" OR "),
        overdue = sql::millis(overdue_before_ms),
    );
    let rows = sources.rows::<UnverifiedWindowRow>(&sources.hot, &query).await?;
    let window = |row: UnverifiedWindowRow| WorstWindow {
        kind: "ledger",
        of: row.stream,
        edge: row.edge,
        window_start: Time(row.window_ms),
        window_seconds: row.window_seconds.into(),
        state: row.state,
        reason: row.reason,
        expected: row.expected,
        found: row.found,
    };
    Ok(rows.into_iter().map(window).collect())
}
