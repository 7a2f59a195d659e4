//! What the tables hold.

use clickhouse::Row;
use futures_util::future::join_all;
use marketprism_schema::Table;
use serde::Deserialize;

use super::{Part, Sources, moment};
use crate::report::Time;
use crate::report::document::Held;
use crate::report::rules::recent_window;
use crate::storage::Storage;

/// One table of one server: what it holds by exchange.
#[derive(Debug, Clone)]
pub struct TableFacts {
    /// The table.
    pub table: &'static Table,
    /// By exchange.
    pub venues: Part<Vec<(String, Held)>>,
}

#[derive(Debug, Row, Deserialize)]
struct Counted {
    exchange: String,
    is_recent: u8,
    total: u64,
    events: u64,
    newest_us: i64,
    stored_ms: i64,
}

/// Asks for every table of the scope. One that is missing or slow does not hold the others.
pub async fn read(
    sources: &Sources,
    storage: &Storage,
    tables: &[&'static Table],
    now_ms: i64,
) -> Vec<TableFacts> {
    let each = tables.iter().map(|&table| async move {
        let venues = sources.rows::<Counted>(storage, &sql(&storage.database, table, now_ms)).await;
        TableFacts { table, venues: venues.map(collect) }
    });
    join_all(each).await
}

/// Totals come from the parts' own counts and bounds; only the recent part is read.
fn sql(database: &str, table: &Table, now_ms: i64) -> String {
    let name = table.name;
    let window = i64::try_from(recent_window(table.data_type).as_millis()).unwrap_or(i64::MAX);
    let since = moment(now_ms - window);
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

fn collect(rows: Vec<Counted>) -> Vec<(String, Held)> {
    let mut venues: std::collections::BTreeMap<String, Held> = std::collections::BTreeMap::new();
    for row in rows {
        let held = venues.entry(row.exchange).or_default();
        if row.is_recent == 0 {
            held.rows = row.total;
            held.newest = Time::some(row.newest_us / 1_000);
        } else {
            held.recent_rows = row.total;
            held.recent_duplicates = row.total.saturating_sub(row.events);
            held.newest_stored = Time::some(row.stored_ms);
        }
    }
    venues.into_iter().collect()
}
