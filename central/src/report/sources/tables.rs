//! Contents of the tables; window log and watermarks of the replication.

use std::collections::BTreeMap;

use clickhouse::Row;
use futures_util::future::join_all;
use marketprism_schema::Table;
use serde::Deserialize;

use super::{Answer, Sources, within};
use crate::copy_marks;
use crate::report::document::{TableContents, WorstWindow};
use crate::report::period::{TimeBuckets, recent_window};
use crate::report::{ReportScope, Time};
use crate::storage::Storage;
use crate::{clock, sql};

/// Exchange and market type.
pub type Market = (String, String);

/// Contents of one table on one server, by market.
#[derive(Debug, Clone)]
pub struct TableAnswer {
    pub table: &'static Table,
    pub venues: Answer<BTreeMap<Market, TableContents>>,
}

#[derive(Debug, Row, Deserialize)]
struct CountRow {
    exchange: String,
    market_type: String,
    is_recent: u8,
    total: u64,
    events: u64,
    newest_us: i64,
    stored_ms: i64,
}

/// Queries every table on its own: one that is missing or slow does not delay the others.
pub async fn read(
    sources: &Sources,
    storage: &Storage,
    tables: &[&'static Table],
    now_ms: i64,
) -> Vec<TableAnswer> {
    let each = tables.iter().map(|&table| async move {
        let venues = sources.rows::<CountRow>(storage, &query(&storage.database, table, now_ms)).await;
        TableAnswer { table, venues: venues.map(collect) }
    });
    join_all(each).await
}

/// Totals come from the parts' own counts and bounds; only recent rows are read.
fn query(database: &str, table: &Table, now_ms: i64) -> String {
    let name = table.name;
    let window = i64::try_from(recent_window(table.data_type).as_millis()).unwrap_or(i64::MAX);
    let since = sql::millis(now_ms - window);
    format!(
        "SELECT toString(exchange) AS exchange, toString(market_type) AS market_type, toUInt8(0) AS is_recent, count() AS total, toUInt64(0) AS events, \
         toUnixTimestamp64Micro(max(timestamp)) AS newest_us, toInt64(0) AS stored_ms FROM {database}.{name} \
         GROUP BY exchange, market_type UNION ALL \
         SELECT toString(exchange) AS exchange, toString(market_type) AS market_type, toUInt8(1) AS is_recent, count() AS total, uniqExact(event_id) AS \
         events, toUnixTimestamp64Micro(max(timestamp)) AS newest_us, \
         toUnixTimestamp64Milli(max(created_at)) AS stored_ms FROM {database}.{name} WHERE created_at >= {since} \
         GROUP BY exchange, market_type"
    )
}

fn collect(rows: Vec<CountRow>) -> BTreeMap<Market, TableContents> {
    let mut venues: BTreeMap<Market, TableContents> = BTreeMap::new();
    for row in rows {
        let contents = venues.entry((row.exchange, row.market_type)).or_default();
        if row.is_recent == 0 {
            contents.rows = row.total;
            contents.newest = Time::some(row.newest_us / 1_000);
        } else {
            contents.recent_rows = row.total;
            contents.recent_duplicates = row.total.saturating_sub(row.events);
            contents.newest_stored = Time::some(row.stored_ms);
        }
    }
    venues
}

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

/// Windows that differ or could not be copied.
pub async fn worst(sources: &Sources, scope: &ReportScope, limit: usize) -> Answer<Vec<WorstWindow>> {
    let sql = format!(
        "SELECT 'replication' AS kind, table_name AS `of`, '' AS edge, window_ms AS window_start, seconds AS window_seconds, \
         state, leftUTF8(reason, 500) AS reason, rows AS expected, cold_rows AS found FROM (SELECT table_name, \
         toUnixTimestamp64Milli(window_start) AS window_ms, toUInt64(window_seconds) AS seconds, state, reason, rows, \
         cold_rows FROM {}.window_log FINAL WHERE {}{} AND state IN ('mismatch', 'failed') \
         ORDER BY state != 'mismatch', window_start DESC, table_name LIMIT {limit})",
        sources.cold.database,
        within("window_start", scope.from.0, scope.to.0),
        only(scope),
    );
    sources.rows::<WorstWindow>(&sources.cold, &sql).await
}

/// Newest rows are looked for in this time first.
const RECENT_MS: i64 = 15 * 60_000;

/// With the newest row that hot has itself, if it answers: the one that the replicator wrote stands still when nobody replicates.
pub async fn watermarks(sources: &Sources) -> Answer<BTreeMap<String, TableWatermark>> {
    let mut marks = written_watermarks(sources).await?;
    let is_table = |name: &str| Table::ALL.iter().any(|table| table.name == name);
    let mut searched: Vec<(String, i64)> = marks
        .iter()
        .filter(|(name, _)| is_table(name))
        .map(|(name, mark)| (name.clone(), mark.upto.0))
        .collect();
    // All that waits to be copied may be days of rows: it is read for a table without recent ones only.
    for least_ms in [clock::now_ms() - RECENT_MS, i64::MIN] {
        let since = searched.iter().map(|(name, from_ms)| (name.as_str(), (*from_ms).max(least_ms)));
        let Ok(found) = newest_in_hot(sources, since.collect()).await else { break };
        searched.retain(|(name, from_ms)| *from_ms < least_ms && !found.contains_key(name));
        for (name, newest_ms) in found {
            if let Some(mark) = marks.get_mut(&name) {
                mark.hot_newest = mark.hot_newest.max(Time::some(newest_ms));
            }
        }
    }
    Ok(marks)
}

/// `created_at` of the newest row since a time, of tables that have one.
async fn newest_in_hot(sources: &Sources, since: Vec<(&str, i64)>) -> Answer<BTreeMap<String, i64>> {
    if since.is_empty() {
        return Ok(BTreeMap::new());
    }
    let of_table = |(name, from_ms): (&str, i64)| {
        let (database, from) = (&sources.hot.database, sql::millis(from_ms));
        format!(
            "SELECT '{name}' AS table, count() AS rows, toUnixTimestamp64Milli(max(created_at)) AS newest_ms FROM {database}.{name} \
             WHERE created_at >= {from}"
        )
    };
    let all: Vec<String> = since.into_iter().map(of_table).collect();
    let sql = format!("SELECT table, newest_ms FROM ({}) WHERE rows > 0", all.join(" UNION ALL "));
    Ok(sources.rows::<(String, i64)>(&sources.hot, &sql).await?.into_iter().collect())
}

async fn written_watermarks(sources: &Sources) -> Answer<BTreeMap<String, TableWatermark>> {
    let sql = format!(
        "SELECT table_name, toUnixTimestamp64Milli(upto) AS upto_ms, \
         toUnixTimestamp64Milli(hot_newest) AS newest_ms FROM {}.watermarks FINAL WHERE state != '{}'",
        sources.cold.database,
        copy_marks::STATE
    );
    let rows = sources.rows::<(String, i64, i64)>(&sources.cold, &sql).await?;
    let mark = |(table, upto_ms, newest_ms)| {
        (table, TableWatermark { upto: Time(upto_ms), hot_newest: Time::some(newest_ms) })
    };
    Ok(rows.into_iter().map(mark).collect())
}
