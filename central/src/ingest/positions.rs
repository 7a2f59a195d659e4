//! Table `positions` in hot: the confirmed sequences as hot itself knows them.
//!
//! A position is written to hot before the broker's bucket gets it, so hot is never behind unless it was put back to an earlier state.
//! Rows may leave hot at any time without a false alarm.

use std::time::Duration;

use crate::copy_marks::OF_COPIES;
use crate::storage::{Storage, StorageError, bounded};
use crate::{limits, time};

const TABLE: &str = "positions";

/// Position of one incarnation of a stream in hot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotPosition {
    /// 0 without an entry.
    pub position: u64,
    pub copy_mark_ms: Option<i64>,
    /// Age of the server's process, in whole seconds.
    pub uptime: Duration,
}

pub async fn newest(storage: &Storage, stream: &str, created_ns: i64) -> Result<HotPosition, StorageError> {
    let sql = format!(
        "SELECT argMaxIf(position, written_at, stream_created_ns = ?), maxIf(position, stream_created_ns = {OF_COPIES}), uptime() FROM {}.{TABLE} \
         WHERE stream = ? AND stream_created_ns IN (?, {OF_COPIES})",
        storage.database
    );
    let query = storage.client.query(&sql).bind(created_ns).bind(stream).bind(created_ns);
    let asked = query.fetch_one::<(u64, u64, u32)>();
    let (position, mark_ms, seconds) = bounded(limits::QUERY_TIMEOUT, asked).await?;
    let copy_mark_ms = i64::try_from(mark_ms).ok().filter(|ms| *ms > 0);
    Ok(HotPosition { position, copy_mark_ms, uptime: Duration::from_secs(seconds.into()) })
}

/// Last position written at least `COPY_TIME` before the newest entry; 0 if there is none.
pub async fn surely_held(storage: &Storage, stream: &str, created_ns: i64) -> Result<u64, StorageError> {
    let of = of_stream(storage);
    let sql = format!(
        "SELECT argMaxIf(position, written_at, written_at <= (SELECT max(written_at) FROM {of}) - toIntervalSecond({})) FROM {of}",
        limits::COPY_TIME.as_secs()
    );
    let query = storage.client.query(&sql).bind(stream).bind(created_ns).bind(stream).bind(created_ns);
    bounded(limits::QUERY_TIMEOUT, query.fetch_one::<u64>()).await
}

/// Times of an entry, in milliseconds since 1970; 0 without one.
#[derive(Debug, Clone, Copy)]
pub struct EntryTime {
    /// Later than those before, even if the server's clock was set back.
    pub written_ms: i64,
    /// Hour of the server's clock.
    pub hour_ms: i64,
}

pub const HOUR_MS: i64 = 3_600_000;

impl EntryTime {
    /// The server's clock had been set back. By less than an hour is seen until it has passed the time of the entry.
    pub fn is_ahead(self, now_ms: i64) -> bool {
        self.written_ms.saturating_sub(self.hour_ms) >= HOUR_MS || is_beyond(self.written_ms, now_ms)
    }
}

/// No right clock gives such a time.
pub fn is_beyond(ms: i64, now_ms: i64) -> bool {
    ms > now_ms.saturating_add(time::millis(limits::CLOCK_SKEW))
}

pub async fn newest_time(
    storage: &Storage,
    stream: &str,
    created_ns: i64,
) -> Result<EntryTime, StorageError> {
    let of = of_stream(storage);
    let sql = format!(
        "SELECT toInt64(toUnixTimestamp64Milli(max(written_at))), toInt64(toUnixTimestamp(argMax(hour, written_at))) * 1000 FROM {of}"
    );
    let query = storage.client.query(&sql).bind(stream).bind(created_ns);
    let (written_ms, hour_ms) = bounded(limits::QUERY_TIMEOUT, query.fetch_one::<(i64, i64)>()).await?;
    Ok(EntryTime { written_ms, hour_ms })
}

/// Later entries count even if the server's clock was set back in between.
pub async fn write(
    storage: &Storage,
    stream: &str,
    created_ns: i64,
    position: u64,
) -> Result<(), StorageError> {
    let (of, database) = (of_stream(storage), &storage.database);
    let sql = format!(
        "INSERT INTO {database}.{TABLE} (stream, stream_created_ns, hour, position, written_at) \
         SELECT ?, ?, toStartOfHour(now('UTC')), ?, greatest(now64(3, 'UTC'), \
         (SELECT max(written_at) FROM {of}) + toIntervalMillisecond(1))"
    );
    let query = storage.client.query(&sql).bind(stream).bind(created_ns).bind(position);
    bounded(limits::QUERY_TIMEOUT, query.bind(stream).bind(created_ns).execute()).await
}

fn of_stream(storage: &Storage) -> String {
    format!("{}.{TABLE} WHERE stream = ? AND stream_created_ns = ?", storage.database)
}
