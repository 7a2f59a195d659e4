//! The last raise of hot's TTL, noted in hot's table `positions` by `init --apply`.
//!
//! Hot is not held to have the rows that the lower TTL had dropped before: those of windows received before the raise whose venue times it reached.

use crate::storage::{Storage, StorageError, UNKNOWN, bounded};
use crate::{limits, time};

/// Name of the note in `positions`, in place of a stream, and its `stream_created_ns`: no stream of the broker is as old.
const NOTE: &str = "stream = 'hot_ttl_raised' AND stream_created_ns = 1";

/// All zero without one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TtlRaise {
    /// Milliseconds since 1970, by hot's clock.
    at_ms: i64,
    /// Rows with an earlier venue time may have been dropped before.
    dropped_before_ms: i64,
}

impl TtlRaise {
    pub async fn read(hot: &Storage) -> Result<Self, StorageError> {
        let sql = format!(
            "SELECT toInt64(toUnixTimestamp64Milli(max(written_at))), toInt64(max(position)) FROM {}.positions WHERE {NOTE}",
            hot.database
        );
        let asked = hot.client.query_raw(&sql).fetch_one::<(i64, i64)>();
        match bounded(limits::QUERY_TIMEOUT, asked).await {
            Err(StorageError::Refused { code, .. }) if UNKNOWN.contains(&code) => Ok(Self::default()),
            found => found.map(|(at_ms, dropped_before_ms)| Self { at_ms, dropped_before_ms }),
        }
    }

    /// To be written before the tables are altered. What a lower TTL had dropped before an earlier raise stays noted.
    pub async fn write(hot: &Storage, days_before: u32) -> Result<(), StorageError> {
        let database = &hot.database;
        let sql = format!(
            "INSERT INTO {database}.positions (stream, stream_created_ns, hour, position, written_at) \
             SELECT 'hot_ttl_raised', 1, toStartOfHour(now('UTC')), \
             toUInt64(greatest(toUnixTimestamp64Milli(now64(3, 'UTC')) - {days_before} * 86400000, \
             (SELECT toInt64(max(position)) FROM {database}.positions WHERE {NOTE}), 0)), \
             greatest(now64(3, 'UTC'), (SELECT max(written_at) FROM {database}.positions WHERE {NOTE}))"
        );
        bounded(limits::QUERY_TIMEOUT, hot.client.query_raw(&sql).execute()).await
    }

    /// Rows with an earlier venue time, in microseconds since 1970, may be gone from hot.
    pub fn gone_before_us(self) -> i64 {
        self.dropped_before_ms.saturating_add(time::millis(limits::TTL_MARGIN)).saturating_mul(1_000)
    }

    /// Rows of a window that begins then may be gone from hot if their venue time is earlier; never those received after the raise.
    pub fn gone_before_us_in(self, window_ms: i64) -> i64 {
        if window_ms < self.at_ms { self.gone_before_us() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_received_after_a_raise_are_whole() {
        let raise = TtlRaise { at_ms: 900_000_000, dropped_before_ms: 500_000_000 };
        assert_eq!(raise.gone_before_us_in(899_999_999), 507_200_000_000);
        assert_eq!(raise.gone_before_us_in(900_000_000), 0);
    }
}
