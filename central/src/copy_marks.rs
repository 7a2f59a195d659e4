//! Copy marks: the time of the newest round of copying, of each stream, in hot and in cold.
//!
//! The replicator writes a mark to hot, then to cold, before it copies anything: hot has every row that cold has, unless its mark is lower. Then
//! hot was put back to an earlier state, whatever the broker says, which may have been put back too. Nothing is copied or compared until ingest
//! has brought back what hot lost, and given hot the mark of cold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use marketprism_schema::{DataType, stream_of};

use crate::storage::{Storage, StorageError, UNKNOWN, bounded, limited};
use crate::time::Time;
use crate::{limits, sql};

/// Milliseconds since 1970, by stream.
pub type CopyMarks = BTreeMap<String, i64>;

/// `stream_created_ns` of a mark in hot's table `positions`: no stream of the broker is as old.
pub const OF_COPIES: i64 = 0;
/// State of a mark in cold's table `watermarks`, where it has the name of its stream in place of a table's.
pub const STATE: &str = "mark";

/// Hot has an earlier mark than cold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "hot was put back to an earlier state: its copy mark of stream {stream} is {}, that of cold {}; nothing is copied until ingest has brought \
     back the lost rows",
    shown(*.hot_ms),
    Time(*.cold_ms)
)]
pub struct HotPutBack {
    pub stream: String,
    /// `None` without a mark: hot was emptied.
    pub hot_ms: Option<i64>,
    pub cold_ms: i64,
}

fn shown(mark_ms: Option<i64>) -> String {
    mark_ms.map_or_else(|| "none".to_owned(), |ms| Time(ms).to_string())
}

/// Begin of the ids of the queries that copy rows between hot and a cold database.
pub fn query_prefix(cold: &str) -> String {
    format!("marketprism-copy-{cold}-")
}

/// Ends the queries of a server with ids that begin so.
pub async fn end_copies(server: &Storage, prefix: &str, limit: Duration) -> Result<(), StorageError> {
    let kill = format!("KILL QUERY WHERE startsWith(query_id, {}) SYNC", sql::quote(prefix));
    bounded(limit, limited(&server.client, limit).query_raw(&kill).execute()).await
}

/// The streams of the event tables.
pub fn streams() -> BTreeSet<&'static str> {
    DataType::ALL.iter().map(|&data_type| stream_of(data_type)).collect()
}

/// The marks of cold must have been read before that of hot.
pub fn put_back(stream: &str, hot_ms: Option<i64>, cold: &CopyMarks) -> Option<HotPutBack> {
    let cold_ms = *cold.get(stream)?;
    (hot_ms < Some(cold_ms)).then(|| HotPutBack { stream: stream.to_owned(), hot_ms, cold_ms })
}

pub async fn of_hot(hot: &Storage, limit: Duration) -> Result<CopyMarks, StorageError> {
    let sql = format!(
        "SELECT toString(stream), toInt64(max(position)) FROM {}.positions WHERE stream_created_ns = {OF_COPIES} GROUP BY stream",
        hot.database
    );
    let rows = bounded(limit, hot.client.query_raw(&sql).fetch_all::<(String, i64)>()).await?;
    Ok(rows.into_iter().collect())
}

/// Empty when cold was never set up, or was emptied.
pub async fn of_cold(cold: &Storage, limit: Duration) -> Result<CopyMarks, StorageError> {
    let sql = format!(
        "SELECT toString(table_name), toInt64(toUnixTimestamp64Milli(upto)) FROM {}.watermarks FINAL WHERE state = '{STATE}'",
        cold.database
    );
    match bounded(limit, cold.client.query_raw(&sql).fetch_all::<(String, i64)>()).await {
        Err(StorageError::Refused { code, .. }) if UNKNOWN.contains(&code) => Ok(CopyMarks::new()),
        found => Ok(found?.into_iter().collect()),
    }
}

/// Mark of the next round of streams with these marks: later than all of them, even if a clock was set back.
pub fn next(now_ms: i64, hot: &CopyMarks, cold: &CopyMarks) -> i64 {
    hot.values().chain(cold.values()).map(|mark| mark.saturating_add(1)).fold(now_ms, i64::max)
}

/// Gives these streams of hot a mark. Of a stream whose mark is not the one that is known nothing is written: hot was put back meanwhile.
pub async fn write_to_hot(
    hot: &Storage,
    streams: &[(&str, Option<i64>)],
    mark_ms: i64,
) -> Result<(), StorageError> {
    let database = &hot.database;
    let known: Vec<String> = streams
        .iter()
        .map(|(stream, known)| format!("({}, toUInt64({}))", sql::quote(stream), known.unwrap_or_default()))
        .collect();
    let sql = format!(
        "INSERT INTO {database}.positions (stream, stream_created_ns, hour, position, written_at) \
         SELECT known.1, {OF_COPIES}, toStartOfHour(now('UTC')), {mark_ms}, greatest(now64(3, 'UTC'), \
         (SELECT max(written_at) FROM {database}.positions WHERE stream_created_ns = {OF_COPIES}) + toIntervalMillisecond(1)) \
         FROM (SELECT arrayJoin([{}]) AS known) WHERE (known.1, known.2) IN \
         (SELECT stream, max(position) FROM (SELECT toString(stream) AS stream, position FROM {database}.positions \
         WHERE stream_created_ns = {OF_COPIES} UNION ALL SELECT arrayJoin([{}]), toUInt64(0)) GROUP BY stream)",
        known.join(", "),
        streams.iter().map(|(stream, _)| sql::quote(stream)).collect::<Vec<_>>().join(", ")
    );
    bounded(limits::QUERY_TIMEOUT, hot.client.query_raw(&sql).execute()).await
}

/// The newest entry counts, even if a clock was set back after the one before.
pub async fn write_to_cold(cold: &Storage, streams: &[&str], mark_ms: i64) -> Result<(), StorageError> {
    let names: Vec<String> = streams.iter().map(|stream| sql::quote(stream)).collect();
    let (table, mark) = (format!("{}.watermarks", cold.database), sql::millis(mark_ms));
    let sql = format!(
        "INSERT INTO {table} (table_name, upto, hot_newest, state, moved_at) SELECT arrayJoin([{}]), {mark}, {mark}, '{STATE}', \
         greatest(now64(3, 'UTC'), (SELECT max(moved_at) FROM {table} WHERE state = '{STATE}') + toIntervalMillisecond(1))",
        names.join(", ")
    );
    bounded(limits::QUERY_TIMEOUT, cold.client.query_raw(&sql).execute()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks<const N: usize>(of: [(&str, i64); N]) -> CopyMarks {
        of.map(|(stream, mark)| (stream.to_owned(), mark)).into()
    }

    #[test]
    fn hot_was_put_back_when_cold_has_a_later_mark() {
        let cold = marks([("A", 5), ("B", 7)]);
        let of = |stream, hot: &CopyMarks| {
            put_back(stream, hot.get(stream).copied(), &cold).map(|found| (found.hot_ms, found.cold_ms))
        };
        let hot = marks([("A", 5), ("B", 6)]);
        assert_eq!([of("A", &hot), of("B", &hot), of("C", &hot)], [None, Some((Some(6), 7)), None]);
        assert_eq!(of("A", &marks([])), Some((None, 5)), "an emptied hot");
        assert_eq!((next(9, &hot, &cold), next(3, &hot, &cold)), (9, 8), "a clock that was set back");
    }
}
