//! The ledger's verdicts: one scan that counts them by stream, edge and bin of time; then the worst of them by name.

use clickhouse::Row;
use serde::Deserialize;

use super::{Part, Sources, moment, within};
use crate::report::bins::{Bins, StreamKey};
use crate::report::document::WorstWindow;
use crate::report::{Scope, Time};

/// The windows of one stream, edge and bin.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct Binned {
    /// First part of the subject.
    pub data_type: String,
    /// Second part.
    pub exchange: String,
    /// Third part.
    pub market_type: String,
    /// Fourth part.
    pub symbol: String,
    /// The edge that vouched.
    pub edge: String,
    /// The bin, from 0.
    pub bin: u32,
    /// Windows by state.
    pub verified: u64,
    /// See `verified`.
    pub mismatch: u64,
    /// See `verified`.
    pub unverifiable: u64,
    /// See `verified`.
    pub open: u64,
    /// Open windows that should have been judged.
    pub overdue: u64,
    /// Gaps that the audits name.
    pub gaps: u64,
    /// Events that those gaps name as missing.
    pub missing: u64,
    /// Copies recognized by the broker.
    pub duplicates: u64,
    /// Book updates left out on purpose.
    pub conflated: u64,
    /// Length of a window.
    pub window_seconds: u16,
    /// Begin of the first window.
    pub first_ms: i64,
    /// Begin of the last window.
    pub last_ms: i64,
}

/// The whole scope, counted by the server.
pub async fn read(
    sources: &Sources,
    scope: &Scope,
    bins: &Bins,
    overdue_before_ms: i64,
) -> Part<Vec<Binned>> {
    let sql = format!(
        "SELECT data_type, exchange, market_type, symbol, edge, \
         toUInt32(intDiv(toUnixTimestamp(window_start) - {start}, {bin})) AS bin, \
         countIf(state = 'verified') AS verified, countIf(state = 'mismatch') AS mismatch, \
         countIf(state = 'unverifiable') AS unverifiable, countIf(state = 'open') AS open, \
         countIf(state = 'open' AND window_start < {overdue}) AS overdue, toUInt64(sum(gaps)) AS gaps, \
         sum(missing) AS missing, sum(duplicates) AS duplicates, sum(conflated) AS conflated, \
         max(window_seconds) AS window_seconds, toUnixTimestamp64Milli(min(window_start)) AS first_ms, \
         toUnixTimestamp64Milli(max(window_start)) AS last_ms \
         FROM {database}.verdicts FINAL WHERE {within}{only} \
         GROUP BY data_type, exchange, market_type, symbol, edge, bin \
         LIMIT {CELLS_MAX} SETTINGS do_not_merge_across_partitions_select_final = 1",
        start = bins.start_ms / 1_000,
        bin = bins.seconds,
        overdue = moment(overdue_before_ms),
        database = sources.hot.database,
        within = within("window_start", scope.from.0, scope.to.0),
        only = only(scope),
    );
    let rows = sources.rows::<Binned>(&sources.hot, &sql).await?;
    // A cut answer would look whole.
    if rows.len() >= CELLS_MAX {
        return Err(format!("more than {CELLS_MAX} streams times bins; ask for a table or a shorter time"));
    }
    Ok(rows)
}

/// Most cells taken in: 5,000 streams over 120 bins, about 100 MB while they are added up.
const CELLS_MAX: usize = 600_000;

fn only(scope: &Scope) -> String {
    let mut tables = scope.tables().map(|table| table.data_type);
    match (scope.table, tables.next()) {
        (Some(_), Some(data_type)) => format!(" AND data_type = '{data_type}'"),
        _ => String::new(),
    }
}

#[derive(Debug, Row, Deserialize)]
struct Named {
    data_type: String,
    exchange: String,
    market_type: String,
    symbol: String,
    edge: String,
    window_ms: i64,
    window_seconds: u16,
    state: String,
    reason: String,
    expected: u64,
    found: u64,
}

/// Names the windows of the cells given that are not verified. The key of the table begins with the stream, so this reads little.
pub async fn worst(
    sources: &Sources,
    scope: &Scope,
    cells: &[(StreamKey, i64, i64)],
    overdue_before_ms: i64,
    limit: usize,
) -> Part<Vec<WorstWindow>> {
    let span = cells
        .iter()
        .fold((i64::MAX, i64::MIN), |(from, to), (_, begin, end)| (from.min(*begin), to.max(*end)));
    if cells.is_empty() {
        return Ok(Vec::new());
    }
    let of_cell = |(key, from, to): &(StreamKey, i64, i64)| {
        let [data_type, exchange, market_type, symbol] = key.parts().map(quoted);
        let within = within("window_start", *from, *to);
        format!(
            "(data_type = {data_type} AND exchange = {exchange} AND market_type = {market_type} AND \
             symbol = {symbol} AND {within})"
        )
    };
    let any: Vec<String> = cells.iter().map(of_cell).collect();
    let sql = format!(
        "SELECT data_type, exchange, market_type, symbol, edge, toUnixTimestamp64Milli(window_start) AS window_ms, \
         window_seconds, state, reason, expected, found FROM {database}.verdicts FINAL WHERE {within} AND ({any}) \
         AND (state IN ('mismatch', 'unverifiable') OR (state = 'open' AND window_start < {overdue})) \
         ORDER BY state != 'mismatch', window_start DESC, exchange, data_type, market_type, symbol, edge \
         LIMIT {limit} SETTINGS do_not_merge_across_partitions_select_final = 1",
        database = sources.hot.database,
        within = within("window_start", span.0.max(scope.from.0), span.1.min(scope.to.0)),
        any = any.join(" OR "),
        overdue = moment(overdue_before_ms),
    );
    let rows = sources.rows::<Named>(&sources.hot, &sql).await?;
    let window = |row: Named| WorstWindow {
        kind: "ledger",
        of: format!("{}.{}.{}.{}", row.data_type, row.exchange, row.market_type, row.symbol),
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

/// A text as ClickHouse reads it. Symbols are somebody else's text.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no symbol can end the text that it stands in.
    #[test]
    fn quotes_and_backslashes_stay_inside() {
        assert_eq!(quoted("a'b\\"), "'a\\'b\\\\'");
    }
}
