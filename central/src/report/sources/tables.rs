//! Contents of the tables: rows, recent rows, duplicates.

use std::collections::BTreeMap;

use clickhouse::Row;
use futures_util::future::join_all;
use marketprism_schema::Table;
use serde::Deserialize;

use super::{Answer, Sources};
use crate::report::Time;
use crate::report::document::TableContents;
use crate::report::freshness::recent_window;
use crate::sql;
use crate::storage::Storage;

/// Contents of one table on one server, by exchange.
#[derive(Debug, Clone)]
pub struct TableAnswer {
    pub table: &'static Table,
    pub venues: Answer<Vec<(String, TableContents)>>,
}

#[derive(Debug, Row, Deserialize)]
struct CountRow {
    exchange: String,
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
        "SELECT toString(exchange) AS exchange, toUInt8(0) AS is_recent, count() AS total, toUInt64(0) AS events, \
         toUnixTimestamp64Micro(max(timestamp)) AS newest_us, toInt64(0) AS stored_ms FROM {database}.{name} \
         GROUP BY exchange UNION ALL \
         SELECT toString(exchange) AS exchange, toUInt8(1) AS is_recent, count() AS total, uniqExact(event_id) AS \
         events, toUnixTimestamp64Micro(max(timestamp)) AS newest_us, \
         toUnixTimestamp64Milli(max(created_at)) AS stored_ms FROM {database}.{name} WHERE created_at >= {since} \
         GROUP BY exchange"
    )
}

fn collect(rows: Vec<CountRow>) -> Vec<(String, TableContents)> {
    let mut venues: BTreeMap<String, TableContents> = BTreeMap::new();
    for row in rows {
        let contents = venues.entry(row.exchange).or_default();
        if row.is_recent == 0 {
            contents.rows = row.total;
            contents.newest = Time::some(row.newest_us / 1_000);
        } else {
            contents.recent_rows = row.total;
            contents.recent_duplicates = row.total.saturating_sub(row.events);
            contents.newest_stored = Time::some(row.stored_ms);
        }
    }
    venues.into_iter().collect()
}
