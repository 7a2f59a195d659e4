//! Rows that hot dropped on purpose under an earlier configuration, noted in its table `positions`: by `init --apply` before it raises the TTL, and
//! by the replicator before it removes verified windows.
//!
//! Hot is not held to have the rows that a lower TTL had dropped, those of windows received before the raise whose venue times it reached, nor
//! those that were removed.

use std::time::Duration;

use crate::storage::{Storage, StorageError, UNKNOWN, bounded, limited};
use crate::{limits, sql, time};

/// Names of the notes in `positions`, in place of a stream.
const TTL_RAISED: &str = "hot_ttl_raised";
const REMOVED: &str = "removed_from_hot";
/// Their `stream_created_ns`: no stream of the broker is as old.
const CREATED_NS: i64 = 1;

/// Begin of the reason in cold's `window_log` of a window whose rows were removed from hot, or are being removed.
pub const REMOVED_REASON: &str = "removed from hot";

/// Removals of a table from hot, by the log in cold: hot may have lost its own note of them.
pub struct RemovalLog<'a> {
    pub cold: &'a Storage,
    pub table: &'static str,
    pub limit: Duration,
}

impl RemovalLog<'_> {
    /// Every logged window that ends earlier was removed; 0 if none was.
    pub async fn all_before_ms(&self) -> Result<i64, StorageError> {
        let sql = format!(
            "SELECT toInt64(toUnixTimestamp64Milli(if(countIf(NOT is_removed) > 0, minIf(from_time, NOT is_removed), max(to_time)))) \
             FROM ({}) HAVING countIf(is_removed) > 0",
            self.windows("1")
        );
        let asked = limited(&self.cold.client, self.limit).query_raw(&sql).fetch_optional::<i64>();
        Ok(bounded(self.limit, asked).await?.unwrap_or_default())
    }

    /// Removed windows that overlap a span, in order; each with its end, in milliseconds since 1970.
    pub async fn windows_in(&self, (from_ms, to_ms): (i64, i64)) -> Result<Vec<(i64, i64)>, StorageError> {
        let near = format!(
            "window_start < {} AND window_start >= {}",
            sql::millis(to_ms),
            sql::millis(from_ms.saturating_sub(WINDOW_MS_MAX).max(0))
        );
        let sql = format!(
            "SELECT toInt64(toUnixTimestamp64Milli(from_time)) AS from_ms, toInt64(toUnixTimestamp64Milli(to_time)) AS to_ms FROM ({}) \
             WHERE is_removed AND to_time > {} ORDER BY from_ms",
            self.windows(&near),
            sql::millis(from_ms)
        );
        let asked = limited(&self.cold.client, self.limit).query_raw(&sql).fetch_all::<(i64, i64)>();
        bounded(self.limit, asked).await
    }

    fn windows(&self, condition: &str) -> String {
        format!(
            "SELECT window_start AS from_time, window_start + toIntervalSecond(window_seconds) AS to_time, \
             startsWith(reason, '{REMOVED_REASON}') AS is_removed FROM {}.window_log FINAL WHERE table_name = '{}' AND {condition}",
            self.cold.database, self.table
        )
    }
}

/// A window's length is a 16-bit number of seconds.
const WINDOW_MS_MAX: i64 = 65_536_000;

/// All zero without a note.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DroppedRows {
    /// Time of the last raise of the TTL, milliseconds since 1970 by hot's clock.
    raised_ms: i64,
    /// Rows with an earlier venue time may have been dropped before it.
    dropped_before_ms: i64,
    /// Rows with an earlier `created_at` may have been removed.
    removed_before_ms: i64,
}

impl DroppedRows {
    pub async fn read(hot: &Storage) -> Result<Self, StorageError> {
        let of = |note: &str, value: &str| format!("toInt64(maxIf({value}, stream = '{note}'))");
        let sql = format!(
            "SELECT {}, {}, {} FROM {}.positions WHERE stream IN ('{TTL_RAISED}', '{REMOVED}') AND stream_created_ns = {CREATED_NS}",
            of(TTL_RAISED, "toUnixTimestamp64Milli(written_at)"),
            of(TTL_RAISED, "position"),
            of(REMOVED, "position"),
            hot.database
        );
        let asked = hot.client.query_raw(&sql).fetch_one::<(i64, i64, i64)>();
        match bounded(limits::QUERY_TIMEOUT, asked).await {
            Err(StorageError::Refused { code, .. }) if UNKNOWN.contains(&code) => Ok(Self::default()),
            found => found.map(|(raised_ms, dropped_before_ms, removed_before_ms)| Self {
                raised_ms,
                dropped_before_ms,
                removed_before_ms,
            }),
        }
    }

    /// To be written before the tables are altered. What a lower TTL had dropped before an earlier raise stays noted.
    pub async fn note_raise(hot: &Storage, days_before: u32) -> Result<(), StorageError> {
        let before = format!("toUnixTimestamp64Milli(now64(3, 'UTC')) - {days_before} * 86400000");
        note(hot, TTL_RAISED, &before).await
    }

    /// To be written before the rows are removed.
    pub async fn note_removal(self, hot: &Storage, before_ms: i64) -> Result<(), StorageError> {
        if before_ms <= self.removed_before_ms {
            return Ok(());
        }
        note(hot, REMOVED, &before_ms.to_string()).await
    }

    /// Rows with an earlier venue time, in microseconds since 1970, may be gone from hot.
    pub fn gone_before_us(self) -> i64 {
        let dropped_ms = self.dropped_before_ms.saturating_add(time::millis(limits::TTL_MARGIN));
        dropped_ms.max(self.removed_before_ms()).saturating_mul(1_000)
    }

    /// Rows of a window that begins then may be gone from hot if their venue time is earlier; never those received after the raise.
    pub fn gone_before_us_in(self, window_ms: i64) -> i64 {
        let dropped_ms = self.dropped_before_ms.saturating_add(time::millis(limits::TTL_MARGIN));
        if window_ms < self.raised_ms { dropped_ms.saturating_mul(1_000) } else { 0 }
    }

    /// Rows that were received or created earlier, or have an earlier venue time, may have been removed from hot.
    pub fn removed_before_ms(self) -> i64 {
        match self.removed_before_ms {
            0 => 0,
            before_ms => before_ms.saturating_add(time::millis(limits::CLOCK_SKEW)),
        }
    }
}

/// The later of two moments stays noted.
async fn note(hot: &Storage, note: &str, before_ms: &str) -> Result<(), StorageError> {
    let database = &hot.database;
    let noted = format!("{database}.positions WHERE stream = '{note}' AND stream_created_ns = {CREATED_NS}");
    let sql = format!(
        "INSERT INTO {database}.positions (stream, stream_created_ns, hour, position, written_at) \
         SELECT '{note}', {CREATED_NS}, toStartOfHour(now('UTC')), \
         toUInt64(greatest({before_ms}, (SELECT toInt64(max(position)) FROM {noted}), 0)), \
         greatest(now64(3, 'UTC'), (SELECT max(written_at) FROM {noted}))"
    );
    bounded(limits::QUERY_TIMEOUT, hot.client.query_raw(&sql).execute()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_received_after_a_raise_are_whole() {
        let raised =
            DroppedRows { raised_ms: 900_000_000, dropped_before_ms: 500_000_000, removed_before_ms: 0 };
        assert_eq!(raised.gone_before_us_in(899_999_999), 507_200_000_000);
        assert_eq!(raised.gone_before_us_in(900_000_000), 0);
        assert_eq!((raised.gone_before_us(), raised.removed_before_ms()), (507_200_000_000, 0));
    }

    #[test]
    fn removed_rows_are_gone_whenever_their_window_was_received() {
        let removed = DroppedRows { removed_before_ms: 600_000_000, ..DroppedRows::default() };
        assert_eq!((removed.removed_before_ms(), removed.gone_before_us()), (600_010_000, 600_010_000_000));
        assert_eq!(removed.gone_before_us_in(1), 0);
    }
}
