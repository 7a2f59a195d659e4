//! Queries to hot and cold tables, and their errors.

use std::time::Duration;

use clickhouse::Compression;
use clickhouse::query::Query;
use marketprism_schema::{Table, stream_of};
use marketprism_service::error_text;

use super::window::{Digests, TimeRange, WindowDigest};
use crate::config::Config;
use crate::copy_marks::HotPutBack;
use crate::dropped_rows::DroppedRows;
use crate::row::columns_of;
use crate::server_clock::{ClockReading, ClocksApart, ServerClock};
use crate::storage::{DeduplicationRules, QUERY_BYTES, Storage, StorageError, bounded, delete_rows, limited};
use crate::{limits, sql};

/// Start of the window, then the fields of [`WindowDigest`].
type DigestRow = (i64, u64, u64, u64, u64, u64, i64, u64);

#[derive(Clone)]
pub struct Endpoint {
    pub side: &'static str,
    pub storage: Storage,
    pub limit: Duration,
    pub deduplication: DeduplicationRules,
}

#[derive(Clone)]
pub struct HotCold {
    pub hot: Endpoint,
    pub cold: Endpoint,
    pub is_one_server: bool,
    pub dropped: DroppedRows,
}

impl HotCold {
    /// Opens new connections to both servers. An error when one does not answer in time.
    pub async fn connect(config: &Config) -> Result<Self, CopyError> {
        let limit = config.replication.query_timeout;
        let compression = if config.replication.compress() { Compression::Lz4 } else { Compression::None };
        let endpoint = |side, storage: anyhow::Result<Storage>| {
            // Its files were usable at the start.
            let storage = storage.map_err(|error| StorageError::Unreachable(error_text(error.as_ref())));
            let mut storage = storage.map_err(|error| CopyError::Storage { side, error })?;
            storage.client = storage.client.with_compression(compression);
            Ok::<_, CopyError>(Endpoint {
                side,
                storage,
                limit,
                deduplication: DeduplicationRules::default(),
            })
        };
        let mut pair = Self {
            hot: endpoint("hot", Storage::hot(&config.clickhouse))?,
            cold: endpoint("cold", Storage::cold(&config.clickhouse))?,
            is_one_server: !config.clickhouse.is_cold_apart(),
            dropped: DroppedRows::default(),
        };
        for side in [&mut pair.hot, &mut pair.cold] {
            let limit = config.replication.connect_timeout;
            let rules = DeduplicationRules::read(&side.storage.client, limit).await;
            side.deduplication = rules.map_err(|error| side.failed(error))?;
        }
        pair.read_dropped().await?;
        Ok(pair)
    }

    /// A hot that was put back to an earlier state, or emptied, says something else.
    pub async fn read_dropped(&mut self) -> Result<(), CopyError> {
        let dropped = DroppedRows::read(&self.hot.storage).await;
        self.dropped = dropped.map_err(|error| self.hot.failed(error))?;
        Ok(())
    }

    /// Queries of so many server threads each: for work that must not slow ingest down.
    #[must_use]
    pub fn with_threads(mut self, threads: u32) -> Self {
        for side in [&mut self.hot, &mut self.cold] {
            side.storage.client =
                side.storage.client.clone().with_setting("max_threads", threads.to_string());
        }
        self
    }
}

impl Endpoint {
    pub async fn clock(&self) -> Result<ClockReading, CopyError> {
        ServerClock::default().read(&self.storage, self.limit).await.map_err(|error| self.failed(error))
    }

    pub fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.storage.database)
    }

    /// A query with the timeout on both ends of the connection.
    pub fn query(&self, sql: &str) -> Query {
        limited(&self.storage.client, self.limit).query_raw(sql)
    }

    pub async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, clickhouse::error::Error>>,
    ) -> Result<T, CopyError> {
        bounded(self.limit, answer).await.map_err(|error| self.failed(error))
    }

    pub const fn failed(&self, error: StorageError) -> CopyError {
        CopyError::Storage { side: self.side, error }
    }

    /// Digest of each window of a range that holds rows. Counting distinct ids is expensive.
    pub async fn digests(
        &self,
        table: &TableSpec,
        span: TimeRange,
        width_ms: i64,
        count_distinct: bool,
    ) -> Result<Digests, CopyError> {
        let distinct = if count_distinct { "uniqExact(event_id)" } else { "toUInt64(0)" };
        let sql = format!(
            "SELECT toInt64(intDiv(toUnixTimestamp64Milli(created_at), {width_ms}) * {width_ms}) AS start_ms, \
             count() AS rows, groupBitXor(toUInt64(bitAnd(event_id, 18446744073709551615))) AS ids_xor, \
             sum(toUInt64(bitShiftRight(event_id, 64))) AS ids_sum, groupBitXor(row_hash) AS rows_xor, \
             sum(row_hash) AS rows_sum, toInt64(toUnixTimestamp64Micro(min(timestamp))) AS oldest_us, \
             {distinct} AS distinct FROM (SELECT created_at, timestamp, event_id, {} AS row_hash FROM {} WHERE {}) \
             GROUP BY start_ms",
            table.row_hash,
            self.table(table.name),
            span.condition()
        );
        let rows = self.ask(self.query(&sql).fetch_all::<DigestRow>()).await?;
        let digest =
            |(start_ms, rows, ids_xor, ids_sum, rows_xor, rows_sum, oldest_us, distinct): DigestRow| {
                (start_ms, WindowDigest { rows, ids_xor, ids_sum, rows_xor, rows_sum, oldest_us, distinct })
            };
        Ok(rows.into_iter().map(digest).collect())
    }

    /// Row count and fingerprint of the event ids of each window of a range that holds rows: reads a fraction of the bytes of whole rows.
    pub async fn id_digests(
        &self,
        table: &TableSpec,
        span: TimeRange,
        width_ms: i64,
    ) -> Result<Digests, CopyError> {
        let sql = format!(
            "SELECT toInt64(intDiv(toUnixTimestamp64Milli(created_at), {width_ms}) * {width_ms}) AS start_ms, count() AS rows, \
             groupBitXor(toUInt64(bitAnd(event_id, 18446744073709551615))) AS ids_xor, \
             sum(toUInt64(bitShiftRight(event_id, 64))) AS ids_sum FROM {} WHERE {} GROUP BY start_ms",
            self.table(table.name),
            span.condition()
        );
        let rows = self.ask(self.query(&sql).fetch_all::<(i64, u64, u64, u64)>()).await?;
        let digest = |(start_ms, rows, ids_xor, ids_sum)| {
            (start_ms, WindowDigest { rows, ids_xor, ids_sum, ..WindowDigest::default() })
        };
        Ok(rows.into_iter().map(digest).collect())
    }

    /// Row count and oldest venue time of each window of a range that holds rows; no fingerprints, so cheap.
    pub async fn counts(
        &self,
        table: &TableSpec,
        span: TimeRange,
        width_ms: i64,
    ) -> Result<Digests, CopyError> {
        let sql = format!(
            "SELECT toInt64(intDiv(toUnixTimestamp64Milli(created_at), {width_ms}) * {width_ms}) AS start_ms, \
             count() AS rows, toInt64(toUnixTimestamp64Micro(min(timestamp))) AS oldest_us FROM {} WHERE {} GROUP BY start_ms",
            self.table(table.name),
            span.condition()
        );
        let counted = self.ask(self.query(&sql).fetch_all::<(i64, u64, i64)>()).await?;
        let state = |(start_ms, rows, oldest_us)| {
            (start_ms, WindowDigest { rows, oldest_us, ..WindowDigest::default() })
        };
        Ok(counted.into_iter().map(state).collect())
    }

    /// [`Self::counts`] from a time on, and `created_at` of the newest row.
    pub async fn counts_since(
        &self,
        table: &TableSpec,
        from_ms: i64,
        width_ms: i64,
    ) -> Result<(Digests, i64), CopyError> {
        let sql = format!(
            "SELECT toInt64(intDiv(toUnixTimestamp64Milli(created_at), {width_ms}) * {width_ms}) AS start_ms, count() AS rows, \
             toInt64(toUnixTimestamp64Micro(min(timestamp))) AS oldest_us, \
             toInt64(toUnixTimestamp64Milli(max(created_at))) AS newest_ms FROM {} WHERE created_at >= {} GROUP BY start_ms",
            self.table(table.name),
            sql::millis(from_ms)
        );
        let counted = self.ask(self.query(&sql).fetch_all::<(i64, u64, i64, i64)>()).await?;
        let newest_ms = counted.iter().map(|row| row.3).max().unwrap_or_default();
        let state = |(start_ms, rows, oldest_us, _)| {
            (start_ms, WindowDigest { rows, oldest_us, ..WindowDigest::default() })
        };
        Ok((counted.into_iter().map(state).collect(), newest_ms))
    }

    pub async fn first(&self, table: &TableSpec, span: TimeRange) -> Result<Option<i64>, CopyError> {
        self.created_at("min", table, &span.condition()).await
    }

    pub async fn first_since(&self, table: &TableSpec, from_ms: i64) -> Result<Option<i64>, CopyError> {
        self.created_at("min", table, &format!("created_at >= {}", sql::millis(from_ms))).await
    }

    pub async fn newest(&self, table: &TableSpec, from_ms: i64) -> Result<Option<i64>, CopyError> {
        self.created_at("max", table, &format!("created_at >= {}", sql::millis(from_ms))).await
    }

    async fn created_at(
        &self,
        aggregate: &str,
        table: &TableSpec,
        condition: &str,
    ) -> Result<Option<i64>, CopyError> {
        let table = self.table(table.name);
        let sql = format!(
            "SELECT toInt64(toUnixTimestamp64Milli({aggregate}(created_at))) AS at_ms, count() AS rows FROM {table} \
             WHERE {condition}"
        );
        let (at_ms, rows) = self.ask(self.query(&sql).fetch_one::<(i64, u64)>()).await?;
        Ok((rows > 0).then_some(at_ms))
    }

    /// Event id and hash of every row of a range, ordered by event id. The caller bounds the range.
    pub async fn rows(&self, table: &TableSpec, span: TimeRange) -> Result<Vec<(u128, u64)>, CopyError> {
        let sql = format!(
            "SELECT event_id, {} AS row_hash FROM {} WHERE {} ORDER BY event_id, row_hash",
            table.row_hash,
            self.table(table.name),
            span.condition()
        );
        self.ask(self.query(&sql).fetch_all::<(u128, u64)>()).await
    }

    /// Event id and venue time (microseconds) of rows in a range that are older than a venue time; one page, from an event id on.
    pub async fn older_than(
        &self,
        table: &TableSpec,
        span: TimeRange,
        before_us: i64,
        from_id: u128,
    ) -> Result<Vec<(u128, i64)>, CopyError> {
        let sql = format!(
            "SELECT event_id, toInt64(toUnixTimestamp64Micro(timestamp)) AS at_us FROM {} WHERE {} AND timestamp < {} AND \
             event_id >= toUInt128('{from_id}') ORDER BY event_id LIMIT {}",
            self.table(table.name),
            span.condition(),
            sql::micros(before_us),
            limits::IDS_A_DELETE
        );
        self.ask(self.query(&sql).fetch_all::<(u128, i64)>()).await
    }

    /// Event ids that are stored with a `created_at` outside a range: of the first `IDS_A_DELETE` ids of which some are. Venue times, if given, limit
    /// the rows read.
    pub async fn held_outside(
        &self,
        table: &TableSpec,
        span: TimeRange,
        ids: &[u128],
        times_us: Option<(i64, i64)>,
    ) -> Result<Vec<u128>, CopyError> {
        let bounds = times_us.map_or_else(String::new, |(first, last)| {
            format!("timestamp >= {} AND timestamp <= {} AND ", sql::micros(first), sql::micros(last))
        });
        for some in ids.chunks(limits::IDS_A_DELETE) {
            let sql = format!(
                "SELECT DISTINCT event_id FROM {} WHERE {bounds}NOT ({}) AND event_id IN ({})",
                self.table(table.name),
                span.condition(),
                sql::ids(some.iter().copied())
            );
            let query = self.query(&sql).with_setting("max_query_size", QUERY_BYTES);
            let found = self.ask(query.fetch_all::<u128>()).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Deletes rows by event id; returns when no query of an active replica sees them.
    pub async fn delete(&self, table: &TableSpec, span: TimeRange, ids: &[u128]) -> Result<(), CopyError> {
        let (table, range) = (self.table(table.name), span.condition());
        for some in ids.chunks(limits::IDS_A_DELETE) {
            let ids = sql::ids(some.iter().copied());
            let query = self.query(&format!("DELETE FROM {table} WHERE {range} AND event_id IN ({ids})"));
            self.delete_with(query).await?;
        }
        Ok(())
    }

    pub async fn delete_with(&self, query: Query) -> Result<(), CopyError> {
        delete_rows(query, self.limit).await.map_err(|error| self.failed(error))
    }
}

/// Reason why copying stopped. Nothing is lost: the next round continues.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CopyError {
    #[error("{side}: {error}")]
    Storage {
        side: &'static str,
        #[source]
        error: StorageError,
    },
    #[error("the lease is lost")]
    LeaseLost,
    #[error(transparent)]
    Clocks(#[from] ClocksApart),
    #[error(transparent)]
    HotPutBack(#[from] HotPutBack),
}

impl CopyError {
    /// The server was too slow, so a smaller insert may succeed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Storage { error: StorageError::TimedOut(_), .. })
    }
}

/// A replicated table. Columns are named, so their order on a server does not matter.
#[derive(Debug, Clone)]
pub struct TableSpec {
    pub name: &'static str,
    /// Stream of its events.
    pub stream: &'static str,
    pub columns: String,
    pub definition: String,
    /// SQL expression: 64-bit hash of the whole row. The values are hashed as one tuple, because a hash of several arguments
    /// is NULL if one of them is, and aggregates skip NULLs.
    pub row_hash: String,
    pub columns_hash: u64,
    pub is_high: bool,
    pub slice_rows: u64,
}

impl TableSpec {
    pub fn all() -> Vec<Self> {
        Table::ALL.iter().map(Self::new).collect()
    }

    fn new(table: &Table) -> Self {
        let columns = columns_of(table.data_type);
        let quoted: Vec<String> = columns.iter().map(|(name, _)| format!("`{name}`")).collect();
        let names = quoted.join(", ");
        let typed: Vec<String> = columns.iter().map(|(name, kind)| format!("`{name}` {kind}")).collect();
        let definition = typed.join(", ");
        Self {
            name: table.name,
            stream: stream_of(table.data_type),
            row_hash: format!("cityHash64(tuple({names}))"),
            columns_hash: xxhash_rust::xxh3::xxh3_64(definition.as_bytes()),
            columns: names,
            definition,
            is_high: table.data_type.is_frequent(),
            slice_rows: limits::slice_rows(table.data_type),
        }
    }
}
