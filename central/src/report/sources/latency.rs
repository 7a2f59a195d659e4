//! Latencies and clocks of edges, and latencies of rows in hot.

use clickhouse::Row;
use serde::Deserialize;

use super::{Answer, Sources, within};
use crate::report::ReportScope;
use crate::report::period::recent_window;
use crate::sql;

/// Most groups read: 64 edges of 20 exchanges with every data type and hop.
const GROUPS_MAX: usize = 32_768;
/// Most steps of clocks listed.
const STEPS_MAX: usize = 100;

/// Events of one hop of a stream's edge, by bucket.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct HopCounts {
    pub edge: String,
    pub exchange: String,
    pub data_type: String,
    pub hop: String,
    pub counts: Vec<u64>,
}

/// Latency of rows from their receipt at an edge to the start of their insert, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct RowLatency {
    pub edge: String,
    pub exchange: String,
    pub data_type: String,
    pub events: u64,
    /// 0.5, 0.9, 0.99.
    pub quantiles: Vec<u64>,
}

/// The newest measurement of an edge's clock against a venue's, and the worst.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct ClockRow {
    pub edge: String,
    pub exchange: String,
    pub offset_ns: i64,
    pub error_ns: i64,
    pub measured_ns: i64,
    pub worst_offset_ns: i64,
    pub worst_error_ns: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct StepRow {
    pub edge: String,
    pub at_ns: i64,
    pub by_ns: i64,
}

#[derive(Debug, Default)]
pub struct LatencyRows {
    pub hops: Vec<HopCounts>,
    pub rows: Vec<RowLatency>,
    pub clocks: Vec<ClockRow>,
    pub steps: Vec<StepRow>,
}

pub async fn read(sources: &Sources, scope: &ReportScope, now_ms: i64) -> Answer<LatencyRows> {
    let database = &sources.hot.database;
    let within = within("window_start", scope.from.0, scope.to.0);
    let edges = |list: &str| format!("{database}.edge_audits FINAL ARRAY JOIN {list} WHERE {within}");
    let hops = format!(
        "SELECT toString(edge) AS edge, latency.exchange AS exchange, latency.data_type AS data_type, latency.hop AS hop, \
         sumForEach(latency.counts) AS counts FROM {}{} GROUP BY edge, exchange, data_type, hop \
         ORDER BY edge, exchange, data_type LIMIT {GROUPS_MAX}",
        edges("latencies AS latency"),
        scope.data_type_sql(),
    );
    // Not by the time of the measurement: it is by the clock in question.
    let newest = "(created_at, stream_seq)";
    let clocks = format!(
        "SELECT toString(edge) AS edge, clock.exchange AS exchange, argMax(clock.offset_ns, {newest}) AS offset_ns, \
         argMax(clock.error_ns, {newest}) AS error_ns, argMax(clock.measured_ns, {newest}) AS measured_ns, \
         argMax(clock.offset_ns, abs(clock.offset_ns) - clock.error_ns) AS worst_offset_ns, \
         argMax(clock.error_ns, abs(clock.offset_ns) - clock.error_ns) AS worst_error_ns \
         FROM {} GROUP BY edge, exchange ORDER BY edge, exchange LIMIT {GROUPS_MAX}",
        edges("clocks AS clock"),
    );
    let steps = format!(
        "SELECT toString(edge) AS edge, step.at_ns AS at_ns, step.by_ns AS by_ns FROM {} \
         ORDER BY at_ns DESC, edge LIMIT {STEPS_MAX}",
        edges("clock_steps AS step"),
    );
    let newest_rows = newest_rows(database, scope, now_ms);
    let (hops, clocks, steps, rows) = tokio::try_join!(
        sources.rows::<HopCounts>(&sources.hot, &hops),
        sources.rows::<ClockRow>(&sources.hot, &clocks),
        sources.rows::<StepRow>(&sources.hot, &steps),
        sources.rows::<RowLatency>(&sources.hot, &newest_rows),
    )?;
    Ok(LatencyRows { hops, rows, clocks, steps })
}

/// Only rows that were recent at the end of the period: its cost is that of the recent rows of the tables' contents.
fn newest_rows(database: &str, scope: &ReportScope, now_ms: i64) -> String {
    let of_table = |table: &marketprism_schema::Table| {
        // The end of a period up to now is a whole second, and the clock of hot may be ahead.
        let reaches_now = scope.to.0 > now_ms - 60_000;
        let (end, to) = if reaches_now { (now_ms, now_ms + 60_000) } else { (scope.to.0, scope.to.0) };
        let window = i64::try_from(recent_window(table.data_type).as_millis()).unwrap_or(i64::MAX);
        let from = scope.from.0.max(end - window);
        format!(
            "SELECT toString(edge) AS edge, toString(exchange) AS exchange, '{kind}' AS data_type, count() AS events, \
             arrayMap(us -> toUInt64(us), quantilesTDigest(0.5, 0.9, 0.99)(greatest(0, \
             toUnixTimestamp64Milli(created_at) * 1000 - intDiv(toUnixTimestamp64Nano(received_at), 1000)))) AS quantiles \
             FROM {database}.{name} WHERE created_at >= {from} AND created_at < {to} AND data_source != 'backfill' GROUP BY edge, exchange",
            kind = table.data_type,
            name = table.name,
            from = sql::millis(from),
            to = sql::millis(to),
        )
    };
    let all: Vec<String> = scope.tables().map(of_table).collect();
    format!(
        "SELECT edge, exchange, data_type, events, quantiles FROM ({}) LIMIT {GROUPS_MAX}",
        all.join(" UNION ALL ")
    )
}
