//! Time for which hot keeps rows, as its tables have it.
//!
//! Ingest, ledger and replicator go by `clickhouse.hot_ttl_days`. While the tables have less, no central may work: hot would drop at once what
//! ingest lets through, and what it dropped by the lower value would count as lost.

use marketprism_schema::{DatabaseKind, Layout, Table};

use super::Difference;
use super::shape::{EngineClauses, NO_TTL, TTL};
use crate::config::Config;
use crate::dropped_rows::DroppedRows;
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// The first table that keeps rows for less time than configured, and what to do.
pub async fn hot_keeps_less(config: &Config, hot: &Storage) -> Result<Option<String>, StorageError> {
    let sql = "SELECT name, engine_full FROM system.tables WHERE database = ? ORDER BY name";
    let tables = hot.client.query(sql).bind(&hot.database).fetch_all::<(String, String)>();
    let wanted = config.clickhouse.hot_ttl_days;
    Ok(bounded(limits::QUERY_TIMEOUT, tables).await?.into_iter().find_map(|(table, engine)| {
        let days = days_kept(EngineClauses::read(&engine).ttl).filter(|_| is_event_table(&table))?;
        (days < wanted).then(|| {
            format!(
                "table {}.{table} drops rows after {days} d, clickhouse.hot_ttl_days is {wanted}: run `init --apply`, or configure {days}",
                hot.database
            )
        })
    }))
}

/// Rows that hot dropped under the lower TTL must not count as lost.
pub async fn note_raised_ttl(
    storage: &Storage,
    layout: &Layout<'_>,
    table: &str,
    differences: &[Difference],
) -> Result<(), StorageError> {
    let ttl = differences.iter().find(|difference| difference.setting == TTL);
    // Of a TTL in another form the shortest that can be configured is assumed.
    match ttl.map(|ttl| days_kept(&ttl.found).unwrap_or(1)) {
        Some(days) if layout.kind == DatabaseKind::Hot && is_event_table(table) && days < layout.ttl_days => {
            DroppedRows::note_raise(storage, days).await
        }
        _ => Ok(()),
    }
}

fn is_event_table(table: &str) -> bool {
    Table::ALL.iter().any(|events| events.name == table)
}

/// Whole days; `None` of a TTL that is not the venue time and an interval, as one that moves rows to another volume.
fn days_kept(ttl: &str) -> Option<u32> {
    if ttl == NO_TTL {
        return Some(u32::MAX);
    }
    let interval = ttl.strip_prefix("toDateTime(timestamp) + toInterval")?.strip_suffix(')')?;
    let (unit, count) = interval.split_once('(')?;
    let count: u32 = count.parse().ok()?;
    match unit {
        "Hour" => Some(count / 24),
        "Day" => Some(count),
        "Week" => count.checked_mul(7),
        "Month" => count.checked_mul(28),
        "Year" => count.checked_mul(365),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_from_a_ttl() {
        let of = |interval: &str| days_kept(&format!("toDateTime(timestamp) + toInterval{interval}"));
        let read = [of("Day(36500)"), of("Hour(36)"), of("Week(2)"), of("Month(1)"), of("Year(1)")];
        assert_eq!(read, [Some(36_500), Some(1), Some(14), Some(28), Some(365)]);
        assert_eq!(days_kept(NO_TTL), Some(u32::MAX));
        let moved = "Day(1) TO VOLUME 'slow', toDateTime(timestamp) + toIntervalDay(9)";
        assert_eq!(
            [of(moved), of("Second(5)"), days_kept("toDateTime(created_at) + toIntervalDay(9)")],
            [None; 3]
        );
    }
}
