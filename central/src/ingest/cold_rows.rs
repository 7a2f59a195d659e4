//! Rows that come back from cold after hot was put back to an earlier state: those of whole messages, and of a message of which hot has only some
//! events, the other ones. None is stored a second time.
//!
//! They keep their `created_at`: under a new one the replicator would copy them again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use clickhouse::Compression;
use marketprism_schema::{DataType, Table, stream_of};
use tokio::time::timeout;

use super::insert::log_comment_prefix;
use super::progress::SeqRange;
use crate::context::CentralContext;
use crate::row::columns_of;
use crate::storage::{Storage, StorageError, UNKNOWN, bounded};
use crate::{limits, sql};

/// Fingerprint of a message's events in a table by its sequence.
type MessageDigests = BTreeMap<u64, u64>;

/// Rows of a table with these sequences, created since a time.
#[derive(Debug, Clone, Copy)]
struct TableSpan {
    table: &'static Table,
    span: SeqRange,
    since_ns: i64,
}

pub fn tables_of(stream: &'static str) -> impl Iterator<Item = &'static Table> {
    DataType::ALL.iter().filter(move |&&data_type| stream_of(data_type) == stream).map(|&of| Table::of(of))
}

/// Copies what cold has of these messages and hot does not; returns the number of events. `since_ns`: earlier rows are of other messages.
pub async fn copy_from_cold(
    shared: &CentralContext,
    stream: &'static str,
    span: SeqRange,
    since_ns: i64,
) -> anyhow::Result<u64> {
    let mut copied = 0;
    for table in tables_of(stream) {
        for span in span.pieces(limits::SEQUENCES_A_COPY) {
            copied += copy_piece(shared, stream, TableSpan { table, span, since_ns }).await?;
        }
    }
    Ok(copied)
}

async fn copy_piece(shared: &CentralContext, stream: &'static str, piece: TableSpan) -> anyhow::Result<u64> {
    let limit = shared.config.replication.query_timeout;
    let in_cold = of_cold(piece.digests(shared, &shared.cold).await)?;
    if in_cold.is_empty() {
        return Ok(0);
    }
    let in_hot = piece.digests(shared, &shared.storage).await.context("cannot read what hot has")?;
    let (absent, partial) = compared(&in_cold, &in_hot);
    let mut copied = 0;
    let mut copy = async |condition: String| -> anyhow::Result<()> {
        let rows = format!("FROM {} AND {condition}", piece.of(&shared.cold));
        let count = shared.cold.client.query_raw(&format!("SELECT count() {rows}"));
        copied += of_cold(bounded(limit, count.fetch_one::<u64>()).await)?;
        let copied = timeout(limit, copy(shared, stream, piece.table, &rows)).await;
        copied.context("copying from cold to hot took too long")?.map_err(anyhow::Error::from)
    };
    if !absent.is_empty() {
        copy(format!("stream_seq IN ({})", listed(&absent))).await?;
    }
    for some in partial.chunks(limits::PARTIAL_MESSAGES_A_QUERY) {
        let in_cold = of_cold(piece.events(shared, &shared.cold, some).await)?;
        let in_hot = piece.events(shared, &shared.storage, some).await.context("cannot read what hot has")?;
        let lacking: Vec<u128> = in_cold.difference(&in_hot).map(|&(_, id)| id).collect();
        for ids in lacking.chunks(limits::IDS_A_QUERY) {
            let ids = sql::ids(ids.iter().copied());
            copy(format!("stream_seq IN ({}) AND event_id IN ({ids})", listed(some))).await?;
        }
    }
    Ok(copied)
}

/// The sequences that hot does not have at all, and those of which it has other events than cold.
fn compared(in_cold: &MessageDigests, in_hot: &MessageDigests) -> (Vec<u64>, Vec<u64>) {
    let other = in_cold.iter().filter(|(sequence, digest)| in_hot.get(sequence) != Some(digest));
    other.map(|(&sequence, _)| sequence).partition(|sequence| !in_hot.contains_key(sequence))
}

fn listed(sequences: &[u64]) -> String {
    sequences.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// Cold was never set up, or was emptied: it has nothing.
fn of_cold<T: Default>(found: Result<T, StorageError>) -> anyhow::Result<T> {
    match found {
        Err(StorageError::Refused { code, .. }) if UNKNOWN.contains(&code) => Ok(T::default()),
        found => found.context("hot was put back; cold, which may have its rows, does not answer"),
    }
}

impl TableSpan {
    fn of(&self, storage: &Storage) -> String {
        let Self { table, span, since_ns } = self;
        format!(
            "{}.{} WHERE stream_seq BETWEEN {} AND {} AND created_at >= {}",
            storage.database,
            table.name,
            span.from,
            span.to,
            sql::millis(since_ns / 1_000_000)
        )
    }

    /// A row may be there twice until the next merge.
    async fn digests(
        &self,
        shared: &CentralContext,
        storage: &Storage,
    ) -> Result<MessageDigests, StorageError> {
        let sql = format!(
            "SELECT stream_seq, groupBitXor(sipHash64(event_id)) FROM (SELECT DISTINCT stream_seq, event_id FROM {}) GROUP BY stream_seq",
            self.of(storage)
        );
        let asked = storage.client.query_raw(&sql).fetch_all::<(u64, u64)>();
        let rows = bounded(shared.config.replication.query_timeout, asked).await?;
        Ok(rows.into_iter().collect())
    }

    async fn events(
        &self,
        shared: &CentralContext,
        storage: &Storage,
        sequences: &[u64],
    ) -> Result<BTreeSet<(u64, u128)>, StorageError> {
        let sql = format!(
            "SELECT DISTINCT stream_seq, event_id FROM {} AND stream_seq IN ({})",
            self.of(storage),
            listed(sequences)
        );
        let asked = storage.client.query_raw(&sql).fetch_all::<(u64, u128)>();
        let rows = bounded(shared.config.replication.query_timeout, asked).await?;
        Ok(rows.into_iter().collect())
    }
}

async fn copy(
    shared: &CentralContext,
    stream: &'static str,
    table: &Table,
    rows: &str,
) -> Result<(), StorageError> {
    let names: Vec<String> =
        columns_of(table.data_type).iter().map(|(name, _)| format!("`{name}`")).collect();
    let columns = names.join(", ");
    let seconds = shared.config.replication.query_timeout.as_secs().max(1).to_string();
    let client = shared.cold.client.clone().with_compression(Compression::None);
    let query = client.query_raw(&format!("SELECT {columns} {rows}"));
    let mut answer = query.with_setting("max_execution_time", seconds.clone()).fetch_bytes("Native")?;
    let into = format!("INSERT INTO {}.{} ({columns}) FORMAT Native", shared.storage.database, table.name);
    let mut insert = shared
        .storage
        .client
        .insert_formatted_with(into)
        .with_setting("insert_deduplicate", "0")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_hot_lacks_are_told_from_those_of_which_it_has_other_events() {
        let in_cold = MessageDigests::from([(3, 30), (4, 40), (5, 50), (7, 70)]);
        let in_hot = MessageDigests::from([(4, 40), (5, 51), (6, 60)]);
        assert_eq!(compared(&in_cold, &in_hot), (vec![3, 7], vec![5]));
    }
}
