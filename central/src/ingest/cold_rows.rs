//! Rows that come back from cold after hot was put back to an earlier state, event by event.
//!
//! Afterwards hot has each event that cold has, as the row that cold has: an event that came again meanwhile, from the broker or from an edge's
//! journal, has another `created_at` in hot, an earlier one if a clock was set back. Copied to cold it would replace a row of a verified window,
//! or be replaced by it. Only a correction may do that.
//! Sequences do not tell what hot lost: they are those of a stream that may have been put back, or deleted, too.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use clickhouse::Compression;
use marketprism_schema::{DataType, Table, stream_of};
use tokio::time::timeout;

use super::compared_rows::{ComparedRows, span_of};
use super::other_partitions::no_insert_runs;
use super::positions::{self, EntryTime};
use super::spans::{Span, pieces, slices, without};
use crate::context::CentralContext;
use crate::copy_marks::OF_COPIES;
use crate::dropped_rows::RemovalLog;
use crate::row::columns_of;
use crate::running_inserts::log_comment_prefix;
use crate::storage::{QUERY_BYTES, StorageError, UNKNOWN, always, delete_rows, limited, without_views};
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

impl StreamMarks {
    fn is_clock_suspect(self, now_ms: i64) -> bool {
        self.hot_entry.is_ahead(now_ms) || self.cold_ms.is_some_and(|ms| positions::is_beyond(ms, now_ms))
    }

    /// Rows that hot lost are not older. With a lower mark than that of cold hot is a copy of unknown age, since clocks may have been set back: all that
    /// it keeps is compared.
    fn lost_from(self, copy_ms: i64, now_ms: i64) -> i64 {
        if self.hot_ms < self.cold_ms || self.is_clock_suspect(now_ms) {
            return 0;
        }
        let held_ms = self.hot_ms.map_or(copy_ms, |hot_ms| hot_ms.min(copy_ms));
        span_of(held_ms.saturating_sub(time::millis(limits::COPY_TIME)).max(0))
    }

    /// Rows that came again are not older than the copy of hot, by a clock that was perhaps set back by less than an hour: more, to before the mark of
    /// hot, leaves a trace.
    fn again_from(self, copy_ms: i64, now_ms: i64) -> i64 {
        if self.is_clock_suspect(now_ms) {
            return 0;
        }
        // An emptied hot has no mark, and no other rows than those.
        let of_copy_ms = self.cold_ms.map_or(copy_ms, |cold_ms| cold_ms.min(self.hot_entry.written_ms));
        let since_ms = of_copy_ms.saturating_sub(time::millis(limits::CLOCK_SKEW));
        span_of(since_ms.saturating_sub(positions::HOUR_MS).max(0))
    }
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
    let noted = positions::newest(&shared.storage, &note_of(stream), restored.stream_created_ns).await?;
    let deleted_from = Some(noted.position).filter(|noted| *noted > 0);
    let mut brought = BroughtBack { events: 0, deleted_from, marks };
    let mut tables: Vec<LostRows<'_>> =
        tables_of(stream).map(|table| LostRows::new(shared, table, restored, marks)).collect();
    loop {
        let mut is_changed = false;
        for lost in &mut tables {
            is_changed |= lost.bring_back(&mut brought).await?;
        }
        if !is_changed {
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
    restored: RestoredHot,
    rows: ComparedRows<'a>,
    began_ms: i64,
    /// Rows that hot lost are not older.
    lost_from_ms: i64,
    /// Rows that came again are not older.
    again_from_ms: i64,
    /// Spans that the pass before changed, after the first one.
    changed: Option<BTreeSet<i64>>,
}

/// Event id, `created_at` in milliseconds, venue time in microseconds, sequence.
type NewRow = (u128, i64, i64, u64);

/// A row of hot of which cold has the event as another row.
struct SurplusRow {
    event_id: u128,
    created_ms: i64,
    sequence: u64,
    in_cold_ms: i64,
}

impl<'a> LostRows<'a> {
    fn new(
        shared: &'a CentralContext,
        table: &'static Table,
        restored: RestoredHot,
        marks: StreamMarks,
    ) -> Self {
        let began_ms = shared.hot_clock.now_ms();
        Self {
            shared,
            restored,
            rows: ComparedRows::new(&shared.config, table, began_ms),
            began_ms,
            lost_from_ms: marks.lost_from(restored.copy_ms, began_ms),
            again_from_ms: marks.again_from(restored.copy_ms, began_ms),
            changed: None,
        }
    }

    /// One pass. The first compares all that hot may have lost, each later one what the pass before changed, and what has come since.
    /// True: rows were changed.
    async fn bring_back(&mut self, brought: &mut BroughtBack) -> anyhow::Result<bool> {
        // A row that hot drops meanwhile would be missing in each pass.
        let now_ms = self.shared.hot_clock.now_ms();
        self.rows = ComparedRows::new(&self.shared.config, self.rows.table, now_ms);
        let replaced = self.delete_surplus_rows(brought).await?;
        let is_deleted = !replaced.is_empty();
        let mut spans = match self.changed.take() {
            Some(changed) => changed,
            None => {
                let from_ms = of_cold(self.removals().all_before_ms().await)?.max(self.lost_from_ms);
                of_cold(self.rows.spans(&self.shared.cold, span_of(from_ms)).await)?
            }
        };
        spans.extend(replaced);
        let mut changed = BTreeSet::new();
        for start_ms in spans {
            let events = self.copy_lacking(start_ms).await?;
            brought.events += events;
            changed.extend((events > 0).then_some(start_ms));
        }
        let is_changed = is_deleted || !changed.is_empty();
        self.changed = Some(changed);
        // Inserts that were on their way have younger rows.
        let since_ms = self.began_ms.saturating_sub(time::millis(limits::COPY_TIME));
        self.again_from_ms = self.again_from_ms.max(span_of(since_ms));
        Ok(is_changed)
    }

    /// Deletes the rows of hot of which cold has the event as another row; returns the spans of these.
    async fn delete_surplus_rows(&self, brought: &mut BroughtBack) -> anyhow::Result<BTreeSet<i64>> {
        let RestoredHot { stream, stream_created_ns, .. } = self.restored;
        let mut spans = BTreeSet::new();
        for piece in self.new_pieces().await? {
            let later = self.surplus_rows(piece).await?;
            let Some(lowest) = later.iter().map(|row| row.sequence).min() else { continue };
            if brought.deleted_from.is_none_or(|noted| lowest < noted) {
                // First: a recovery that continues finds none of these rows.
                positions::write(&self.shared.storage, &note_of(stream), stream_created_ns, lowest).await?;
                brought.deleted_from = Some(lowest);
            }
            self.delete(&later).await.context("cannot delete rows of events that came again from hot")?;
            spans.extend(later.iter().map(|row| span_of(row.in_cold_ms)));
        }
        Ok(spans)
    }

    /// Pieces of the time since the newest mark, with some of the rows of hot each, but for parts in which cold has the same rows.
    async fn new_pieces(&self) -> anyhow::Result<Vec<Span>> {
        let hot = &self.shared.storage;
        let mut all = Vec::new();
        let spans = self.rows.spans(hot, self.again_from_ms).await;
        for start_ms in spans.context("cannot read the newest rows of hot")? {
            let span = (start_ms, start_ms + limits::COMPARED_SPAN_MS);
            let in_hot = self.rows.digests(hot, span).await.context("cannot read the newest rows of hot")?;
            let in_cold = of_cold(self.rows.digests(&self.shared.cold, span).await)?;
            for (part_ms, digest) in in_hot {
                if in_cold.get(&part_ms) != Some(&digest) {
                    let part = (part_ms, part_ms + limits::COMPARED_PART_MS);
                    all.extend(pieces(part, digest.0.div_ceil(ROWS_A_LOOKUP)));
                }
            }
        }
        Ok(all)
    }

    async fn surplus_rows(&self, piece: Span) -> anyhow::Result<Vec<SurplusRow>> {
        let sql = format!(
            "SELECT event_id, toInt64(toUnixTimestamp64Milli(created_at)), toInt64(toUnixTimestamp64Micro(timestamp)), stream_seq FROM {}",
            self.rows.of(&self.shared.storage, piece)
        );
        let rows = self.rows.ask::<NewRow>(&self.shared.storage, &sql).await;
        let rows = rows.context("cannot read the newest rows of hot")?;
        let mut later = Vec::new();
        for some in rows.chunks(limits::IDS_A_DELETE) {
            later.extend(self.surplus_of(some).await?);
        }
        Ok(later)
    }

    /// The rows of which cold has the event as an earlier row, or as a later one only.
    async fn surplus_of(&self, rows: &[NewRow]) -> anyhow::Result<Vec<SurplusRow>> {
        let times = || rows.iter().map(|row| row.2);
        let (first_us, last_us) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        // A correction may have given the row in cold another time.
        let around_us = limits::CORRECTION_VENUE_US;
        let sql = format!(
            "SELECT event_id, toInt64(toUnixTimestamp64Milli(min(created_at))), toInt64(toUnixTimestamp64Milli(max(created_at))) FROM {}.{} \
             WHERE timestamp BETWEEN {} AND {} AND event_id IN ({}) GROUP BY event_id",
            self.shared.cold.database,
            self.rows.table.name,
            sql::micros(first_us.saturating_sub(around_us)),
            sql::micros(last_us.saturating_add(around_us)),
            sql::ids(rows.iter().map(|row| row.0))
        );
        let found = of_cold(self.rows.ask::<(u128, i64, i64)>(&self.shared.cold, &sql).await)?;
        let of_event: BTreeMap<u128, (i64, i64)> =
            found.into_iter().map(|(id, first, last)| (id, (first, last))).collect();
        let surplus = |&(event_id, created_ms, _, sequence): &NewRow| {
            let &(first_ms, in_cold_ms) = of_event.get(&event_id)?;
            let is_surplus = in_cold_ms < created_ms || first_ms > created_ms.saturating_add(CORRECTED_MS);
            is_surplus.then_some(SurplusRow { event_id, created_ms, sequence, in_cold_ms })
        };
        Ok(rows.iter().filter_map(surplus).collect())
    }

    async fn delete(&self, rows: &[SurplusRow]) -> Result<(), StorageError> {
        // It lists the time of each row too.
        for some in rows.chunks(limits::IDS_A_DELETE / 2) {
            let exact: Vec<String> =
                some.iter().map(|row| format!("('{}',{})", row.event_id, row.created_ms)).collect();
            let sql = format!(
                "DELETE FROM {}.{} WHERE created_at >= {} AND (event_id, toInt64(toUnixTimestamp64Milli(created_at))) IN ({})",
                self.shared.storage.database,
                self.rows.table.name,
                sql::millis(self.again_from_ms),
                exact.join(",")
            );
            let limit = self.shared.config.replication.query_timeout;
            let query = limited(&self.shared.storage.client, limit).query_raw(&sql);
            delete_rows(query, limit).await?;
        }
        Ok(())
    }

    /// Copies the events of a span that cold has and hot lacks; returns their number.
    async fn copy_lacking(&self, start_ms: i64) -> anyhow::Result<usize> {
        let span = (start_ms, start_ms + limits::COMPARED_SPAN_MS);
        let in_cold = of_cold(self.rows.digests(&self.shared.cold, span).await)?;
        let in_hot =
            self.rows.digests(&self.shared.storage, span).await.context("cannot read what hot has")?;
        let differing = in_cold.iter().filter(|(part, digest)| in_hot.get(part) != Some(digest));
        let parts: Vec<(Span, u64)> = differing
            .map(|(&part_ms, &(rows, ..))| ((part_ms, part_ms + limits::COMPARED_PART_MS), rows))
            .collect();
        if parts.is_empty() {
            return Ok(0);
        }
        let removed = of_cold(self.removals().windows_in(span).await)?;
        let parts = parts
            .into_iter()
            .flat_map(|(part, rows)| without(part, &removed).into_iter().map(move |left| (left, rows)));
        let mut copied = 0;
        for piece in slices(parts, limits::slice_rows(self.rows.table.data_type)) {
            copied += self.copy_piece(piece).await?;
        }
        Ok(copied)
    }

    /// Rows of these windows stay in cold alone.
    fn removals(&self) -> RemovalLog<'_> {
        let Self { shared, rows, .. } = self;
        let limit = shared.config.replication.query_timeout;
        RemovalLog { cold: &shared.cold, table: rows.table.name, limit }
    }

    /// Fails if hot lacks all of the rows afterwards too: another pass would find them again, for ever.
    async fn copy_piece(&self, piece: Span) -> anyhow::Result<usize> {
        let in_cold = of_cold(self.rows.ids(&self.shared.cold, piece).await)?;
        let in_hot = self.rows.ids(&self.shared.storage, piece).await.context("cannot read what hot has")?;
        let lacking: Vec<u128> = in_cold.difference(&in_hot).copied().collect();
        if lacking.is_empty() {
            return Ok(0);
        }
        let rows = self.rows.of(&self.shared.cold, piece);
        if in_hot.is_empty() {
            self.copy(&rows).await?;
        } else {
            for ids in lacking.chunks(limits::IDS_A_DELETE) {
                self.copy(&format!("{rows} AND event_id IN ({})", sql::ids(ids.iter().copied()))).await?;
            }
        }
        let in_hot = self.rows.ids(&self.shared.storage, piece).await.context("cannot read what hot has")?;
        let copied = lacking.iter().filter(|id| in_hot.contains(*id)).count();
        if copied == 0 {
            bail!(
                "table {}: hot accepted {} rows of cold, created from {} to {} (milliseconds since 1970), and holds none of them: look for what \
                 removes them from hot; copying is tried again",
                self.rows.table.name,
                lacking.len(),
                piece.0,
                piece.1
            );
        }
        Ok(copied)
    }

    async fn copy(&self, rows: &str) -> anyhow::Result<()> {
        let limit = self.shared.config.replication.query_timeout;
        let copied = timeout(limit, self.pipe(rows)).await;
        copied.context("copying from cold to hot took too long")?.map_err(anyhow::Error::from)
    }

    async fn pipe(&self, rows: &str) -> Result<(), StorageError> {
        let Self { shared, restored, rows: ComparedRows { table, .. }, .. } = self;
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
        let insert = shared.storage.client.insert_formatted_with(into);
        // A try before may have ended between its hash and its rows. What is stored is read back.
        let mut insert = always()
            .into_iter()
            .chain(without_views())
            .fold(insert, |insert, (name, value)| insert.with_setting(name, value))
            .with_setting("input_format_skip_unknown_fields", "0")
            .with_setting("async_insert", "0")
            .with_setting("wait_end_of_query", "1")
            .with_setting("max_partitions_per_insert_block", "0")
            // A later try waits for the end of this one.
            .with_setting("log_comment", log_comment_prefix(restored.stream))
            .with_setting("max_execution_time", seconds);
        while let Some(bytes) = answer.next().await? {
            insert.send(bytes).await?;
        }
        insert.end().await.map_err(StorageError::from)
    }
}

/// A row that corrections replaced, each by a row of the next millisecond, is not later by more.
const CORRECTED_MS: i64 = 1_000;
/// Rows of hot that are read at once to be looked up in cold.
const ROWS_A_LOOKUP: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = positions::HOUR_MS;
    const NOW_MS: i64 = 500_000 * HOUR_MS;

    fn marks(hot_ms: Option<i64>, hot_entry: EntryTime, cold_ms: Option<i64>) -> StreamMarks {
        StreamMarks { hot_ms, hot_entry, cold_ms }
    }

    fn right(written_ms: i64) -> EntryTime {
        EntryTime { written_ms, hour_ms: written_ms - written_ms.rem_euclid(HOUR_MS) }
    }

    #[test]
    fn days_are_compared_only_if_hot_has_a_lower_mark_or_a_clock_was_set_back() {
        let (mark, copy_ms) = (Some(NOW_MS - 5_000), NOW_MS - 2_000);
        let crashed = marks(mark, right(NOW_MS - 5_000), mark);
        assert_eq!(crashed.lost_from(copy_ms, NOW_MS), span_of(NOW_MS - 5_000 - HOUR_MS));
        assert_eq!(marks(None, right(0), None).lost_from(copy_ms, NOW_MS), span_of(copy_ms - HOUR_MS));
        let ahead = NOW_MS + 60_000;
        for compared in [
            marks(None, right(0), mark),
            marks(Some(NOW_MS - 6_000), right(NOW_MS - 6_000), mark),
            marks(mark, EntryTime { written_ms: NOW_MS - 5_000, hour_ms: NOW_MS - 2 * HOUR_MS }, mark),
            marks(Some(ahead), right(ahead), Some(ahead)),
        ] {
            assert_eq!(compared.lost_from(copy_ms, NOW_MS), 0, "{compared:?}");
        }
    }

    #[test]
    fn rows_that_came_again_are_looked_for_since_an_hour_before_the_mark_of_the_copy() {
        let of = |written_ms, cold_ms| {
            let hot_ms = Some(written_ms).filter(|ms| *ms > 0);
            marks(hot_ms, right(written_ms), Some(cold_ms)).again_from(NOW_MS, NOW_MS)
        };
        for copied_ms in [NOW_MS, NOW_MS - 5 * HOUR_MS] {
            let before_ms = copied_ms - HOUR_MS;
            assert!((before_ms - 620_000..before_ms).contains(&of(copied_ms, NOW_MS)));
        }
        assert_eq!(of(NOW_MS, NOW_MS + 20 * 60_000), 0, "clock set back by 20 min");
        assert_eq!(of(0, NOW_MS), 0, "hot was emptied");
    }
}
