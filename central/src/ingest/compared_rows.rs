//! Reading of a table of hot and cold that are compared after hot was put back. Rows that hot would not keep are left out.
//!
//! Each query has two bounds on `created_at`, of a day at most where there are rows: `clickhouse.hot_ttl_days` may be fifty years.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_schema::Table;

use super::spans::{Span, pieces};
use crate::config::Config;
use crate::storage::{QUERY_BYTES, Storage, StorageError, bounded, limited};
use crate::{limits, sql, time};

/// Count and fingerprint of event ids, and the sum of their `created_at`.
pub type IdDigest = (u64, u64, u64, u64);

#[derive(Debug, Clone, Copy)]
pub struct ComparedRows<'a> {
    config: &'a Config,
    pub table: &'static Table,
    now_ms: i64,
    /// Hot may drop rows with earlier venue times while they are compared.
    oldest_us: i64,
}

impl<'a> ComparedRows<'a> {
    pub fn new(config: &'a Config, table: &'static Table, now_ms: i64) -> Self {
        let kept_us = time::nanos(config.hot_ttl().saturating_sub(limits::TTL_MARGIN)) / 1_000;
        Self { config, table, now_ms, oldest_us: now_ms.saturating_mul(1_000).saturating_sub(kept_us) }
    }

    /// Table and condition of the rows of a span.
    pub fn of(&self, storage: &Storage, (from_ms, to_ms): Span) -> String {
        format!(
            "{}.{} WHERE created_at >= {} AND created_at < {} AND timestamp >= {}",
            storage.database,
            self.table.name,
            sql::millis(from_ms),
            sql::millis(to_ms),
            sql::micros(self.oldest_us)
        )
    }

    pub async fn ask<T: clickhouse::RowOwned + clickhouse::RowRead>(
        &self,
        storage: &Storage,
        sql: &str,
    ) -> Result<Vec<T>, StorageError> {
        let limit = self.config.replication.query_timeout;
        let query =
            limited(&storage.client, limit).query_raw(sql).with_setting("max_query_size", QUERY_BYTES);
        bounded(limit, query.fetch_all::<T>()).await
    }

    /// Starts of the spans from a time on in which a side has rows. Times without rows are found by halves.
    pub async fn spans(&self, storage: &Storage, from_ms: i64) -> Result<BTreeSet<i64>, StorageError> {
        let oldest_ms = self.oldest_us / 1_000;
        let mut open = kept_and_beyond(from_ms, (oldest_ms, self.now_ms));
        let mut starts = BTreeSet::new();
        while let Some(span) = open.pop() {
            if span.1 - span.0 <= DAY_MS {
                starts.extend(self.spans_of_day(storage, span).await?);
            } else if self.has_rows(storage, span).await? {
                open.extend(pieces(span, 2));
            }
        }
        Ok(starts)
    }

    async fn has_rows(&self, storage: &Storage, span: Span) -> Result<bool, StorageError> {
        let sql = format!("SELECT toUInt8(1) FROM {} LIMIT 1", self.of(storage, span));
        Ok(!self.ask::<u8>(storage, &sql).await?.is_empty())
    }

    async fn spans_of_day(&self, storage: &Storage, day: Span) -> Result<Vec<i64>, StorageError> {
        let span_ms = limits::COMPARED_SPAN_MS;
        let sql = format!(
            "SELECT DISTINCT toInt64(intDiv(toUnixTimestamp64Milli(created_at), {span_ms}) * {span_ms}) FROM {}",
            self.of(storage, day)
        );
        self.ask::<i64>(storage, &sql).await
    }

    /// By start of the part.
    pub async fn digests(
        &self,
        storage: &Storage,
        span: Span,
    ) -> Result<BTreeMap<i64, IdDigest>, StorageError> {
        let part_ms = limits::COMPARED_PART_MS;
        let sql = format!(
            "SELECT toInt64(intDiv(toUnixTimestamp64Milli(created_at), {part_ms}) * {part_ms}) AS part, count(), \
             groupBitXor(toUInt64(bitAnd(event_id, 18446744073709551615))), sum(toUInt64(bitShiftRight(event_id, 64))), \
             sum(toUInt64(toUnixTimestamp64Milli(created_at))) FROM {} GROUP BY part",
            self.of(storage, span)
        );
        let rows = self.ask::<(i64, u64, u64, u64, u64)>(storage, &sql).await?;
        Ok(rows.into_iter().map(|(part, rows, xor, sum, times)| (part, (rows, xor, sum, times))).collect())
    }

    pub async fn ids(&self, storage: &Storage, piece: Span) -> Result<BTreeSet<u128>, StorageError> {
        let sql = format!("SELECT DISTINCT event_id FROM {}", self.of(storage, piece));
        Ok(self.ask::<u128>(storage, &sql).await?.into_iter().collect())
    }
}

/// The time that hot keeps is read apart: only clocks that were wrong give rows other times.
fn kept_and_beyond(from_ms: i64, (oldest_ms, now_ms): Span) -> Vec<Span> {
    let kept_from_ms = oldest_ms.saturating_sub(DAY_MS).max(from_ms);
    let kept_to_ms = now_ms.saturating_add(DAY_MS).max(kept_from_ms);
    let spans = [(from_ms, kept_from_ms), (kept_from_ms, kept_to_ms), (kept_to_ms, END_MS)];
    spans.into_iter().filter(|span| span.0 < span.1).collect()
}

pub const fn span_of(ms: i64) -> i64 {
    ms - ms.rem_euclid(limits::COMPARED_SPAN_MS)
}

const DAY_MS: i64 = 86_400_000;
/// Later than any row, and within the range of `DateTime64`.
const END_MS: i64 = 9_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Copied back, they would be missing in each pass.
    #[test]
    fn rows_that_hot_may_drop_soon_are_left_out() {
        let text = "[nats]\nurls = [\"nats://127.0.0.1:4222\"]\n[clickhouse]\nhot_ttl_days = 3\n";
        let (config, now_ms) = (Config::parse(text).unwrap(), 20_000 * DAY_MS);
        let rows = ComparedRows::new(&config, &Table::ALL[0], now_ms);
        assert_eq!(rows.oldest_us, (now_ms - 3 * DAY_MS + 2 * 3_600_000) * 1_000);
    }

    #[test]
    fn all_times_are_read_once_however_long_hot_keeps_rows() {
        let now_ms = 20_000 * DAY_MS;
        for (from_ms, oldest_ms) in
            [(0, now_ms - 3 * DAY_MS), (now_ms - 1, now_ms - 3 * DAY_MS), (0, -16_500 * DAY_MS)]
        {
            let spans = kept_and_beyond(from_ms, (oldest_ms, now_ms));
            assert_eq!(spans.first().zip(spans.last()).map(|(a, b)| (a.0, b.1)), Some((from_ms, END_MS)));
            assert!(spans.windows(2).all(|pair| pair[0].1 == pair[1].0), "{spans:?}");
        }
        assert_eq!(
            kept_and_beyond(now_ms - 1, (0, now_ms)),
            [(now_ms - 1, now_ms + DAY_MS), (now_ms + DAY_MS, END_MS)]
        );
    }
}
