//! Which events of a batch are in hot already.

use std::collections::{BTreeSet, HashSet};

use marketprism_schema::EventId;

use super::batch::{Batch, Entry};
use crate::limits;
use crate::row::Target;
use crate::storage::{Storage, StorageError, bounded};

/// The ids, among the entries that may be stored, which are in hot. Dead letters are not looked up: copies of them do no harm.
pub async fn stored_ids(storage: &Storage, batch: &Batch) -> Result<HashSet<EventId>, StorageError> {
    let mut stored = HashSet::new();
    if batch.target == Target::DeadLetters {
        return Ok(stored);
    }
    let candidates: Vec<&Entry> = batch.entries.iter().filter(|entry| entry.may_be_stored).collect();
    for some in candidates.chunks(limits::IDS_A_QUERY) {
        let table = format!("{}.{}", storage.database, batch.target.table());
        let found: Vec<u128> =
            bounded(limits::QUERY_TIMEOUT, query(storage, &table, some).fetch_all()).await?;
        stored.extend(found.into_iter().map(EventId));
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
        "SELECT DISTINCT event_id FROM {table} WHERE exchange IN ? AND market_type IN ? AND symbol IN ? AND timestamp \
         BETWEEN fromUnixTimestamp64Micro(?) AND fromUnixTimestamp64Micro(?) AND event_id IN ({})",
        ids.join(",")
    );
    storage.client.query(&sql).bind(tokens(1)).bind(tokens(2)).bind(tokens(3)).bind(from).bind(to)
}
