//! Rows that come back from cold after hot was put back to an earlier state, event by event.
//!
//! Afterwards hot has each event that cold has, as the row that cold has: an event that came again meanwhile, from the broker or from an edge's
//! journal, has a later `created_at` in hot, and copied to cold it would replace a row of a verified window. Only a correction may do that.
//! Sequences do not tell what hot lost: they are those of a stream that may have been put back, or deleted, too.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use clickhouse::Compression;
use marketprism_schema::{DataType, Table, stream_of};
use tokio::time::timeout;

use super::other_partitions::no_insert_runs;
use super::positions::{self, EntryTime};
use super::spans::{Span, pieces, slices};
use crate::context::CentralContext;
use crate::copy_marks::OF_COPIES;
use crate::row::columns_of;
use crate::running_inserts::log_comment_prefix;
use crate::storage::{Storage, StorageError, UNKNOWN, bounded};
use crate::{copy_marks, limits, sql, time};

pub fn tables_of(stream: &'static str) -> impl Iterator<Item = &'static Table> {
    DataType::ALL.iter().filter(move |&&data_type| stream_of(data_type) == stream).map(|&of| Table::of(of))
}

/// Cold was never set up, or was emptied: it has nothing.
pub fn of_cold<T: Default>(found: Result<T, StorageError>) -> anyhow::Result<T> {
    match found {
        Err(StorageError::Refused { code, .. }) if UNKNOWN.contains(&code) => Ok(T::default()),
        found => found.context("hot was put back; cold, which may have its rows, does not answer"),
    }
}

/// State of hot before anything is brought back.
#[derive(Debug, Clone, Copy)]
pub struct RestoredHot {
    pub stream: &'static str,
    pub stream_created_ns: i64,
    /// Time of the newest row of the copy; 0 if unknown.
    pub copy_ms: i64,
}

#[derive(Debug)]
pub struct BroughtBack {
    pub events: usize,
    /// Lowest sequence of the later rows that were deleted: their messages have no row now.
    pub deleted_from: Option<u64>,
    marks: StreamMarks,
}

/// Copy marks of a stream, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct StreamMarks {
    hot_ms: Option<i64>,
    /// Time at which hot got its mark.
    hot_entry: EntryTime,
    cold_ms: Option<i64>,
}

/// Brings back what hot lost of a stream. Nothing is copied to cold meanwhile if hot was put back behind its copy mark, until [`finish`]. Repeating
/// it after an interruption continues.
pub async fn bring_back(shared: &CentralContext, restored: RestoredHot) -> anyhow::Result<BroughtBack> {
    let (limit, stream) = (shared.config.replication.query_timeout, restored.stream);
    let of_cold_marks = of_cold(copy_marks::of_cold(&shared.cold, limit).await)?;
    let of_hot_marks =
        copy_marks::of_hot(&shared.storage, limit).await.context("cannot read the copy mark of hot")?;
    let marks = StreamMarks {
        hot_ms: of_hot_marks.get(stream).copied(),
        hot_entry: positions::newest_time(&shared.storage, stream, OF_COPIES).await?,
        cold_ms: of_cold_marks.get(stream).copied(),
    };
    if marks.hot_ms < marks.cold_ms {
        let prefix = copy_marks::query_prefix(&shared.cold.database);
        let ended = copy_marks::end_copies(&shared.cold, &prefix, limit).await;
        ended.context("cannot end the copies to cold of what hot had")?;
    }
    let note = note_of(stream);
    let noted = positions::newest(&shared.storage, &note, restored.stream_created_ns).await?.position;
    let mut brought = BroughtBack { events: 0, deleted_from: (noted > 0).then_some(noted), marks };
    loop {
        let mut changed = 0;
        for table in tables_of(stream) {
            let lost = LostRows::new(shared, table, restored, marks);
            for piece in lost.new_pieces().await? {
                let later = lost.later_rows(piece).await?;
                let Some(lowest) = later.iter().map(|row| row.3).min() else { continue };
                if brought.deleted_from.is_none_or(|noted| lowest < noted) {
                    // First: a recovery that continues finds none of these rows.
                    positions::write(&shared.storage, &note, restored.stream_created_ns, lowest).await?;
                    brought.deleted_from = Some(lowest);
                }
                lost.delete(&later).await.context("cannot delete rows of events that came again from hot")?;
                changed += later.len();
            }
            let lacking = lost.copy_lacking().await?;
            brought.events += lacking;
            changed += lacking;
        }
        if changed == 0 {
            return Ok(brought);
        }
        // One that was decided before these rows were back.
        no_insert_runs(shared, stream).await;
    }
}

/// Ends a recovery: hot gets the copy mark of cold, so that its rows are copied again.
pub async fn finish(
    shared: &CentralContext,
    restored: RestoredHot,
    brought: &BroughtBack,
) -> anyhow::Result<()> {
    let RestoredHot { stream, stream_created_ns, .. } = restored;
    if brought.deleted_from.is_some() {
        positions::write(&shared.storage, &note_of(stream), stream_created_ns, 0).await?;
    }
    let StreamMarks { hot_ms, cold_ms, .. } = brought.marks;
    let Some(cold_ms) = cold_ms else { return Ok(()) };
    let written = copy_marks::write_to_hot(&shared.storage, &[(stream, hot_ms)], cold_ms).await;
    written.context("cannot write the copy mark of hot")
}

/// Name in table `positions` of the lowest sequence whose row was deleted from hot.
fn note_of(stream: &str) -> String {
    format!("{stream} deleted")
}

/// Search for the rows of a table that hot lost.
struct LostRows<'a> {
    shared: &'a CentralContext,
    stream: &'static str,
    table: &'static Table,
    /// Rows that came again are not older.
    again_from_ms: i64,
    /// Hot would not keep rows with earlier venue times.
    oldest_us: i64,
}

/// Count and fingerprint of event ids, and the sum of their `created_at`.
type IdDigest = (u64, u64, u64, u64);

/// Event id, `created_at` in milliseconds, venue time in microseconds, sequence.
type NewRow = (u128, i64, i64, u64);

impl<'a> LostRows<'a> {
    fn new(
        shared: &'a CentralContext,
        table: &'static Table,
        restored: RestoredHot,
        marks: StreamMarks,
    ) -> Self {
        let RestoredHot { stream, copy_ms, .. } = restored;
        let now_ms = shared.hot_clock.now_ms();
        let kept = time::nanos(shared.config.kept_in_hot()) / 1_000;
        let oldest_us = now_ms.saturating_mul(1_000).saturating_sub(kept);
        // What came again is younger than all that was copied to cold, unless a clock was set back.
        let newest_ms = marks.cold_ms.unwrap_or(copy_ms).saturating_sub(time::millis(limits::CLOCK_SKEW));
        let is_ahead = marks.hot_entry.is_ahead() || newest_ms > now_ms;
        let again_from_ms = if is_ahead { 0 } else { newest_ms.max(0) };
        Self { shared, stream, table, again_from_ms, oldest_us }
    }

    fn of(&self, storage: &Storage, (from_ms, to_ms): Span) -> String {
        format!(
            "{}.{} WHERE created_at >= {} AND created_at < {} AND timestamp >= {}",
            storage.database,
            self.table.name,
            sql::millis(from_ms),
            sql::millis(to_ms),
            sql::micros(self.oldest_us)
        )
    }

    async fn ask<T: clickhouse::RowOwned + clickhouse::RowRead>(
        &self,
        storage: &Storage,
        sql: &str,
    ) -> Result<Vec<T>, StorageError> {
        let query = storage.client.query_raw(sql).with_setting("max_query_size", QUERY_BYTES);
        bounded(self.shared.config.replication.query_timeout, query.fetch_all::<T>()).await
    }

    /// Pieces of the time since the newest mark, with some of the rows of hot each, but for parts in which cold has the same rows.
    async fn new_pieces(&self) -> anyhow::Result<Vec<Span>> {
        let hot = &self.shared.storage;
        let mut all = Vec::new();
        for start_ms in
            self.spans(hot, self.again_from_ms).await.context("cannot read the newest rows of hot")?
        {
            let span = (start_ms.max(self.again_from_ms), start_ms + limits::COMPARED_SPAN_MS);
            let in_hot = self.digests(hot, span).await.context("cannot read the newest rows of hot")?;
            let in_cold = of_cold(self.digests(&self.shared.cold, span).await)?;
            for (part_ms, digest) in in_hot {
                if in_cold.get(&part_ms) != Some(&digest) {
                    let part = (span.0.max(part_ms), part_ms + limits::COMPARED_PART_MS);
                    all.extend(pieces(part, digest.0.div_ceil(ROWS_A_LOOKUP)));
                }
            }
        }
        Ok(all)
    }

    /// The rows of hot of which cold has the event as an earlier row.
    async fn later_rows(&self, piece: Span) -> anyhow::Result<Vec<NewRow>> {
        let sql = format!(
            "SELECT event_id, toInt64(toUnixTimestamp64Milli(created_at)), toInt64(toUnixTimestamp64Micro(timestamp)), stream_seq FROM {}",
            self.of(&self.shared.storage, piece)
        );
        let rows: Vec<NewRow> =
            self.ask(&self.shared.storage, &sql).await.context("cannot read the newest rows of hot")?;
        let mut later = Vec::new();
        for some in rows.chunks(limits::IDS_A_DELETE) {
            later.extend(self.later_than_cold(some).await?);
        }
        Ok(later)
    }

    /// Starts of the spans in which a side has rows.
    async fn spans(&self, storage: &Storage, from_ms: i64) -> Result<Vec<i64>, StorageError> {
        let span_ms = limits::COMPARED_SPAN_MS;
        let sql = format!(
            "SELECT DISTINCT toInt64(intDiv(toUnixTimestamp64Milli(created_at), {span_ms}) * {span_ms}) AS start_ms FROM {} ORDER BY start_ms",
            self.of(storage, (from_ms, END_MS))
        );
        self.ask::<i64>(storage, &sql).await
    }

    /// The rows of which cold has the event as an earlier row only.
    async fn later_than_cold(&self, rows: &[NewRow]) -> anyhow::Result<Vec<NewRow>> {
        let times = || rows.iter().map(|row| row.2);
        let (first_us, last_us) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        // A correction may have given the row in cold another time.
        let around_us = limits::CORRECTION_VENUE_US;
        let sql = format!(
            "SELECT event_id, toInt64(toUnixTimestamp64Milli(max(created_at))) FROM {}.{} WHERE timestamp BETWEEN {} AND {} AND event_id IN ({}) \
             GROUP BY event_id",
            self.shared.cold.database,
            self.table.name,
            sql::micros(first_us.saturating_sub(around_us)),
            sql::micros(last_us.saturating_add(around_us)),
            sql::ids(rows.iter().map(|row| row.0))
        );
        let found = of_cold(self.ask::<(u128, i64)>(&self.shared.cold, &sql).await)?;
        let newest_ms: BTreeMap<u128, i64> = found.into_iter().collect();
        let is_later = |row: &&NewRow| newest_ms.get(&row.0).is_some_and(|held_ms| *held_ms < row.1);
        Ok(rows.iter().filter(is_later).copied().collect())
    }

    async fn delete(&self, rows: &[NewRow]) -> Result<(), StorageError> {
        // It lists the time of each row too.
        for some in rows.chunks(limits::IDS_A_DELETE / 2) {
            let exact: Vec<String> =
                some.iter().map(|(id, created_ms, ..)| format!("('{id}',{created_ms})")).collect();
            let sql = format!(
                "DELETE FROM {}.{} WHERE created_at >= {} AND (event_id, toInt64(toUnixTimestamp64Milli(created_at))) IN ({})",
                self.shared.storage.database,
                self.table.name,
                sql::millis(self.again_from_ms),
                exact.join(",")
            );
            let query = self.shared.storage.client.query_raw(&sql);
            let query = query.with_setting("lightweight_deletes_sync", "2");
            let query = query.with_setting("max_query_size", QUERY_BYTES);
            bounded(self.shared.config.replication.query_timeout, query.execute()).await?;
        }
        Ok(())
    }

    /// Copies the events that cold has and hot lacks, as far back as hot keeps rows: after a clock was set back no time of hot tells when its copy
    /// was made. Returns their number.
    async fn copy_lacking(&self) -> anyhow::Result<usize> {
        let mut copied = 0;
        for start_ms in of_cold(self.spans(&self.shared.cold, 0).await)? {
            let span = (start_ms, start_ms + limits::COMPARED_SPAN_MS);
            let in_cold = of_cold(self.digests(&self.shared.cold, span).await)?;
            let in_hot =
                self.digests(&self.shared.storage, span).await.context("cannot read what hot has")?;
            let differing = in_cold.iter().filter(|(part, digest)| in_hot.get(part) != Some(digest));
            let parts = differing.map(|(&part_ms, &(rows, ..))| {
                ((span.0.max(part_ms), part_ms + limits::COMPARED_PART_MS), rows)
            });
            for piece in slices(parts, limits::slice_rows(self.table.data_type)) {
                copied += self.copy_piece(piece).await?;
            }
        }
        Ok(copied)
    }

    /// By start of the part.
    async fn digests(&self, storage: &Storage, span: Span) -> Result<BTreeMap<i64, IdDigest>, StorageError> {
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

    async fn copy_piece(&self, piece: Span) -> anyhow::Result<usize> {
        let in_cold = of_cold(self.ids(&self.shared.cold, piece).await)?;
        let in_hot = self.ids(&self.shared.storage, piece).await.context("cannot read what hot has")?;
        let lacking: Vec<u128> = in_cold.difference(&in_hot).copied().collect();
        let rows = self.of(&self.shared.cold, piece);
        if in_hot.is_empty() && !lacking.is_empty() {
            self.copy(&rows).await?;
        } else {
            for ids in lacking.chunks(limits::IDS_A_DELETE) {
                self.copy(&format!("{rows} AND event_id IN ({})", sql::ids(ids.iter().copied()))).await?;
            }
        }
        Ok(lacking.len())
    }

    async fn ids(&self, storage: &Storage, piece: Span) -> Result<BTreeSet<u128>, StorageError> {
        let sql = format!("SELECT DISTINCT event_id FROM {}", self.of(storage, piece));
        Ok(self.ask::<u128>(storage, &sql).await?.into_iter().collect())
    }

    async fn copy(&self, rows: &str) -> anyhow::Result<()> {
        let limit = self.shared.config.replication.query_timeout;
        let copied = timeout(limit, self.pipe(rows)).await;
        copied.context("copying from cold to hot took too long")?.map_err(anyhow::Error::from)
    }

    async fn pipe(&self, rows: &str) -> Result<(), StorageError> {
        let Self { shared, stream, table, .. } = self;
        let names: Vec<String> =
            columns_of(table.data_type).iter().map(|(name, _)| format!("`{name}`")).collect();
        let columns = names.join(", ");
        let seconds = shared.config.replication.query_timeout.as_secs().max(1).to_string();
        let client = shared.cold.client.clone().with_compression(Compression::None);
        let query = client.query_raw(&format!("SELECT {columns} FROM {rows}"));
        let query = query.with_setting("max_query_size", QUERY_BYTES);
        let mut answer = query.with_setting("max_execution_time", seconds.clone()).fetch_bytes("Native")?;
        let into =
            format!("INSERT INTO {}.{} ({columns}) FORMAT Native", shared.storage.database, table.name);
        let mut insert = shared
            .storage
            .client
            .insert_formatted_with(into)
            .with_setting("insert_deduplicate", "0")
            .with_setting("input_format_skip_unknown_fields", "0")
            .with_setting("async_insert", "0")
            .with_setting("wait_end_of_query", "1")
            .with_setting("max_partitions_per_insert_block", "0")
            // A later try waits for the end of this one.
            .with_setting("log_comment", log_comment_prefix(stream))
            .with_setting("max_execution_time", seconds);
        while let Some(bytes) = answer.next().await? {
            insert.send(bytes).await?;
        }
        insert.end().await.map_err(StorageError::from)
    }
}

/// Later than any row, and within the range of `DateTime64`.
const END_MS: i64 = 9_000_000_000_000;
/// Rows of hot that are read at once to be looked up in cold.
const ROWS_A_LOOKUP: u64 = 20_000;
/// Size of a statement with as many ids as a delete may list.
const QUERY_BYTES: &str = "2000000";
