//! One insert into ClickHouse.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::batch::Sealed;
use crate::limits;
use crate::storage::{Storage, StorageError};

/// Inserts some rows of a batch. Repeating it after an answer that got lost stores nothing twice.
///
/// A batch may span partitions, and the server makes one part of each: after a crash of the server some may be there and some not.
/// The token marks every part by itself, so the repetition adds what is missing.
pub async fn insert(storage: &Storage, batch: &Sealed, range: &Range<usize>) -> Result<(), StorageError> {
    let limit = storage.insert_timeout;
    match tokio::time::timeout(limit, send(storage, batch, range)).await {
        Ok(result) => result.map_err(StorageError::from),
        Err(_) => Err(StorageError::TimedOut(limit)),
    }
}

async fn send(
    storage: &Storage,
    batch: &Sealed,
    range: &Range<usize>,
) -> Result<(), clickhouse::error::Error> {
    let sql = format!(
        "INSERT INTO {}.{} FORMAT RowBinaryWithNamesAndTypes",
        storage.database,
        batch.target.table()
    );
    let mut insert = storage
        .client
        .insert_formatted_with(sql)
        .with_setting("insert_deduplicate", "1")
        .with_setting("insert_deduplication_token", batch.token(range))
        .with_setting("async_insert", "0")
        // The answer means that the rows are in a part, so it must not be given early.
        .with_setting("wait_end_of_query", "1")
        // A batch holds the exchanges and days that it holds.
        .with_setting("max_partitions_per_insert_block", "0")
        // After this the server has given up as well: nothing of an insert that we count as failed appears later than that.
        .with_setting("max_execution_time", whole_seconds(storage.insert_timeout));
    insert.send(Bytes::from(batch.target.header())).await?;
    let mut rows = batch.bytes(range);
    while !rows.is_empty() {
        let chunk = rows.split_to(rows.len().min(limits::INSERT_CHUNK_BYTES));
        insert.send(chunk).await?;
    }
    insert.end().await
}

fn whole_seconds(duration: Duration) -> String {
    duration.as_secs().max(1).to_string()
}
