//! Clocks of the ClickHouse servers. Rows get the time of the hot server, so that a jump of this machine's clock does not move them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// A server's clock, carried on between two readings by the monotonic clock.
#[derive(Debug, Default)]
pub struct ServerClock(Mutex<Option<(i64, Instant)>>);

/// One reading, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    pub server_ms: i64,
    /// Difference to the clock of this machine beyond the time of the request.
    pub ahead_ms: i64,
}

impl ServerClock {
    pub async fn read(&self, storage: &Storage, limit: Duration) -> Result<ClockReading, StorageError> {
        let began = (Instant::now(), clock::now_ms());
        let sql = "SELECT toUnixTimestamp64Milli(now64(3, 'UTC'))";
        let server_ms = bounded(limit, storage.client.query_raw(sql).fetch_one::<i64>()).await?;
        let ahead_ms = ahead(began.1, server_ms, clock::now_ms());
        let read_at = began.0 + began.0.elapsed() / 2;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((server_ms, read_at));
        Ok(ClockReading { server_ms, ahead_ms })
    }

    /// Milliseconds since 1970; by the clock of this machine until the server has answered once.
    pub fn now_ms(&self) -> i64 {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.map_or_else(clock::now_ms, |(server_ms, read_at)| {
            server_ms.saturating_add(i64::try_from(read_at.elapsed().as_millis()).unwrap_or(i64::MAX))
        })
    }
}

/// Difference of a clock that read `theirs` between two local times; 0 when they may agree.
pub fn ahead(before: i64, theirs: i64, after: i64) -> i64 {
    if theirs < before { theirs - before } else { (theirs - after).max(0) }
}

/// Clocks of this machine, hot and cold differ too much to say which windows are closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "clocks differ: hot is {hot_s} s and cold {cold_s} s ahead of this machine; nothing is copied to cold above {limit_s} s; set the \
     clocks right"
)]
pub struct ClocksApart {
    hot_s: i64,
    cold_s: i64,
    limit_s: u64,
}

impl ClocksApart {
    /// The time up to which rows may be copied: that of the slower server. An error when any two clocks differ by more than the limit.
    pub fn common_now(hot: ClockReading, cold: ClockReading) -> Result<i64, Self> {
        let ahead = [0, hot.ahead_ms, cold.ahead_ms];
        let spread = ahead.iter().max().zip(ahead.iter().min()).map_or(0, |(most, least)| most - least);
        let limit = limits::CLOCKS_APART;
        if u128::from(spread.unsigned_abs()) > limit.as_millis() {
            let (hot_s, cold_s) = (hot.ahead_ms / 1_000, cold.ahead_ms / 1_000);
            return Err(Self { hot_s, cold_s, limit_s: limit.as_secs() });
        }
        Ok(hot.server_ms.min(cold.server_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_beyond_the_request_time_count() {
        assert_eq!([ahead(10, 15, 20), ahead(10, 25, 20), ahead(10, 4, 20)], [0, 5, -6]);
    }

    #[test]
    fn windows_close_by_the_slower_server_and_not_at_all_while_clocks_differ_by_minutes() {
        let own_ms = 1_700_000_000_000;
        let at = |ahead_ms| ClockReading { server_ms: own_ms + ahead_ms, ahead_ms };
        assert_eq!(ClocksApart::common_now(at(0), at(0)), Ok(own_ms));
        assert_eq!(ClocksApart::common_now(at(3_000), at(-2_000)), Ok(own_ms - 2_000));
        let day = 86_400_000;
        for (hot, cold) in [(-day, -day), (day, 0), (0, -day), (70_000, -70_000)] {
            let refused = ClocksApart::common_now(at(hot), at(cold)).unwrap_err().to_string();
            assert!(
                refused.contains(&format!("hot is {} s and cold {} s", hot / 1_000, cold / 1_000)),
                "{refused}"
            );
        }
    }
}
