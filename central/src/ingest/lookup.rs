//! Which events of a batch are in hot already, and from which message.

use std::collections::{BTreeSet, HashMap};

use marketprism_schema::EventId;

use super::batch::{Batch, Entry};
use crate::limits;
use crate::row::Target;
use crate::storage::{Storage, StorageError, bounded};

/// Rows of hot by event: sequence of the message, and when its edge received it.
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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sequence that the row of the entry's event has: the entry's own when the row is this very message's, another one when it is
    /// another message's. Nothing when there is no row, or none was looked for.
    ///
    /// A sequence alone does not name a message: a stream that was made anew counts from one again.
    pub fn row_of(&self, entry: &Entry) -> Option<u64> {
        let rows = self.0.get(&entry.event_id).filter(|_| entry.may_be_stored)?;
        let own = (entry.stream_seq, entry.received_at_ns);
        if rows.contains(&own) {
            return Some(entry.stream_seq);
        }
        rows.first().map(|&(stream_seq, _)| if stream_seq == entry.stream_seq { 0 } else { stream_seq })
    }
}

/// The rows of the events, among the entries that may be stored, which are in hot. Copies and dead letters are not looked up: their tables
/// keep one of two rows with the same message.
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

/// Exchange and time cut down the parts that are read, market type and symbol the granules.
fn query(storage: &Storage, table: &str, entries: &[&Entry]) -> clickhouse::query::Query {
    let tokens = |place: usize| -> Vec<&str> {
        let distinct: BTreeSet<&str> =
            entries.iter().filter_map(|entry| entry.message.subject.split('.').nth(place)).collect();
        distinct.into_iter().collect()
    };
    let from = entries.iter().map(|entry| entry.timestamp_us).min().unwrap_or_default();
    let to = entries.iter().map(|entry| entry.timestamp_us).max().unwrap_or_default();
    // In quotes, because a bare number above 64 bits would be read as a float.
    let ids: Vec<String> = entries.iter().map(|entry| format!("'{}'", entry.event_id.0)).collect();
    let sql = format!(
        "SELECT event_id, stream_seq, toUnixTimestamp64Nano(received_at) FROM {table} WHERE exchange IN ? AND market_type \
         IN ? AND symbol IN ? AND timestamp BETWEEN fromUnixTimestamp64Micro(?) AND fromUnixTimestamp64Micro(?) AND \
         event_id IN ({})",
        ids.join(",")
    );
    storage.client.query(&sql).bind(tokens(1)).bind(tokens(2)).bind(tokens(3)).bind(from).bind(to)
}
