//! Lookup of events in hot before their insert.

use std::collections::{BTreeSet, HashMap};

use marketprism_schema::EventId;

use super::batch::{Batch, Entry};
use crate::limits;
use crate::row::Target;
use crate::sql;
use crate::storage::{Storage, StorageError, bounded};

/// Stored rows by event: sequence of the message, and receive time of its edge.
#[derive(Debug, Default)]
pub struct StoredRows(HashMap<EventId, Vec<(u64, i64)>>);

impl FromIterator<(EventId, u64, i64)> for StoredRows {
    fn from_iter<I: IntoIterator<Item = (EventId, u64, i64)>>(rows: I) -> Self {
        let mut all = Self::default();
        all.extend(rows);
        all
    }
}

impl StoredRows {
    fn extend(&mut self, rows: impl IntoIterator<Item = (EventId, u64, i64)>) {
        for (id, stream_seq, received_at_ns) in rows {
            self.0.entry(id).or_default().push((stream_seq, received_at_ns));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sequence of the stored row of an event: the entry's own if the row is from this very message, otherwise that of the
    /// other message. `None` if there is no row.
    ///
    /// The sequence alone does not identify a message, because a recreated stream starts at 1 again.
    pub fn row_of(&self, entry: &Entry) -> Option<u64> {
        let rows = self.0.get(&entry.event_id).filter(|_| entry.may_be_stored)?;
        let own = (entry.stream_seq, entry.received_at_ns);
        if rows.contains(&own) {
            return Some(entry.stream_seq);
        }
        rows.first().map(|&(stream_seq, _)| if stream_seq == entry.stream_seq { 0 } else { stream_seq })
    }
}

/// Stored rows of the entries that may be stored. Duplicates and dead letters are not looked up: their tables merge rows of
/// the same message.
pub async fn stored_rows(storage: &Storage, batch: &Batch) -> Result<StoredRows, StorageError> {
    let mut stored = StoredRows::default();
    if !matches!(batch.target, Target::Events(_)) {
        return Ok(stored);
    }
    let candidates: Vec<&Entry> = batch.entries.iter().filter(|entry| entry.may_be_stored).collect();
    for some in candidates.chunks(limits::IDS_A_QUERY) {
        let table = format!("{}.{}", storage.database, batch.target.table());
        let found: Vec<(u128, u64, i64)> =
            bounded(limits::QUERY_TIMEOUT, query(storage, &table, some).fetch_all()).await?;
        stored.extend(found.into_iter().map(|(id, seq, received)| (EventId(id), seq, received)));
    }
    Ok(stored)
}

/// Exchange and time limit the parts that are read, market type and symbol the granules.
fn query(storage: &Storage, table: &str, entries: &[&Entry]) -> clickhouse::query::Query {
    let tokens = |place: usize| -> Vec<&str> {
        let distinct: BTreeSet<&str> =
            entries.iter().filter_map(|entry| entry.message.subject.split('.').nth(place)).collect();
        distinct.into_iter().collect()
    };
    let from = entries.iter().map(|entry| entry.timestamp_us).min().unwrap_or_default();
    let to = entries.iter().map(|entry| entry.timestamp_us).max().unwrap_or_default();
    let ids = sql::ids(entries.iter().map(|entry| entry.event_id.0));
    let sql = format!(
        "SELECT event_id, stream_seq, toUnixTimestamp64Nano(received_at) FROM {table} WHERE exchange IN ? AND market_type \
         IN ? AND symbol IN ? AND timestamp BETWEEN {} AND {} AND \
         event_id IN ({})",
        sql::micros(from),
        sql::micros(to),
        ids
    );
    storage.client.query(&sql).bind(tokens(1)).bind(tokens(2)).bind(tokens(3))
}
