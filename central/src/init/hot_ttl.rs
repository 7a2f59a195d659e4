//! Time for which hot and cold keep rows, as their tables have it.
//!
//! Ingest, ledger and replicator go by `clickhouse.hot_ttl_days`. While the tables have less, no central may work: hot would drop at once what
//! ingest lets through, and what it dropped by the lower value would count as lost. A cold that keeps no more than hot gets no rows.

use marketprism_schema::{DatabaseKind, Layout, Table};

use super::Difference;
use super::shape::{EngineClauses, NO_TTL, TTL};
use crate::clock::now_ns;
use crate::config::Config;
use crate::dropped_rows::DroppedRows;
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

const DAY_SECONDS: u32 = 86_400;

/// The first table of hot that keeps rows for less time than configured, and what to do.
pub async fn hot_keeps_less(config: &Config, hot: &Storage) -> Result<Option<String>, StorageError> {
    let wanted = config.clickhouse.hot_ttl_days;
    Ok(table_below(hot, wanted).await?.map(|(table, days)| {
        let or = if days == 0 { String::new() } else { format!(", or configure {days}") };
        format!(
            "table {table} drops rows after {days} d, clickhouse.hot_ttl_days is {wanted}: run `init --apply`{or}"
        )
    }))
}

/// The first table of cold that keeps rows no longer than hot, as one with a TTL beyond 2106, and what to do.
pub async fn cold_keeps_less(config: &Config, cold: &Storage) -> Result<Option<String>, StorageError> {
    let hot = config.clickhouse.hot_ttl_days;
    Ok(table_below(cold, hot.saturating_add(1)).await?.map(|(table, days)| {
        format!(
            "table {table} drops rows after {days} d, and cold must keep them for longer than clickhouse.hot_ttl_days, {hot}: run `init --apply`"
        )
    }))
}

/// The first table of events that keeps rows for less than so many days, with its days.
async fn table_below(storage: &Storage, least: u32) -> Result<Option<(String, u32)>, StorageError> {
    let sql = "SELECT name, engine_full FROM system.tables WHERE database = ? ORDER BY name";
    let tables = storage.client.query(sql).bind(&storage.database).fetch_all::<(String, String)>();
    Ok(bounded(limits::QUERY_TIMEOUT, tables).await?.into_iter().find_map(|(table, engine)| {
        let ttl = EngineClauses::read(&engine).ttl;
        let days = days_kept(ttl, now_seconds()).filter(|_| is_event_table(&table))?;
        (days < least).then(|| (format!("{}.{table}", storage.database), days))
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
    match ttl.map(|ttl| days_kept(&ttl.found, now_seconds()).unwrap_or(1)) {
        Some(days) if layout.kind == DatabaseKind::Hot && is_event_table(table) && days < layout.ttl_days => {
            DroppedRows::note_raise(storage, days).await
        }
        _ => Ok(()),
    }
}

fn is_event_table(table: &str) -> bool {
    Table::ALL.iter().any(|events| events.name == table)
}

fn now_seconds() -> u32 {
    u32::try_from(now_ns() / 1_000_000_000).unwrap_or(u32::MAX)
}

/// Whole days from now on; `None` of a TTL that is not the venue time and an interval, as one that moves rows to another volume.
fn days_kept(ttl: &str, now_seconds: u32) -> Option<u32> {
    if ttl == NO_TTL {
        return Some(u32::MAX);
    }
    let interval = ttl.strip_prefix("toDateTime(timestamp) + toInterval")?.strip_suffix(')')?;
    let (unit, count) = interval.split_once('(')?;
    let count: u32 = count.parse().ok()?;
    let days = match unit {
        "Hour" => Some(count / 24),
        "Day" => Some(count),
        "Week" => count.checked_mul(7),
        "Month" => count.checked_mul(28),
        "Year" => count.checked_mul(365),
        _ => None,
    }?;
    // As the server adds: a sum beyond 32 bits begins again in 1970, and the row is dropped at once.
    let end = now_seconds.wrapping_add(days.wrapping_mul(DAY_SECONDS));
    Some(end.saturating_sub(now_seconds) / DAY_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 30 November 2026.
    const NOW: u32 = 1_795_996_800;

    #[test]
    fn days_are_read_from_a_ttl() {
        let days_kept = |ttl: &str| super::days_kept(ttl, NOW);
        let of = |interval: &str| days_kept(&format!("toDateTime(timestamp) + toInterval{interval}"));
        let read = [of("Day(18250)"), of("Hour(36)"), of("Week(2)"), of("Month(1)"), of("Year(1)")];
        assert_eq!(read, [Some(18_250), Some(1), Some(14), Some(28), Some(365)]);
        assert_eq!(days_kept(NO_TTL), Some(u32::MAX));
        let moved = "Day(1) TO VOLUME 'slow', toDateTime(timestamp) + toIntervalDay(9)";
        assert_eq!(
            [of(moved), of("Second(5)"), days_kept("toDateTime(created_at) + toIntervalDay(9)")],
            [None; 3]
        );
    }

    #[test]
    fn a_ttl_beyond_the_dates_of_the_server_keeps_nothing() {
        let of = |interval: &str| days_kept(&format!("toDateTime(timestamp) + toInterval{interval}"), NOW);
        assert_eq!([of("Day(28923)"), of("Day(28924)")], [Some(28_923), Some(0)]);
        assert_eq!([of("Day(36500)"), of("Year(100)")], [Some(0); 2]);
    }
}
