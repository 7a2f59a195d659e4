//! One insert into ClickHouse.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::batch::Sealed;
use super::insert_guard::InsertGuard;
use crate::limits;
use crate::row::native_block;
use crate::storage::{Storage, StorageError};

/// What `log_comment` of every insert of a stream begins with: by this a central finds the inserts that run.
pub fn mark(stream: &str) -> String {
    format!("marketprism-ingest {stream};")
}

/// Inserts some rows of a batch. Repeating it after an answer that got lost stores nothing twice.
///
/// A batch may span partitions, and the server makes one part of each: after a crash of the server some may be there and some not.
/// The token marks every part by itself, so the repetition adds what is missing.
pub async fn insert(
    storage: &Storage,
    guard: &InsertGuard,
    batch: &Sealed,
    range: &Range<usize>,
) -> Result<(), StorageError> {
    let (target, rows) = (batch.target, batch.bytes(range));
    // Milliseconds of work, for books tens of them: not for a thread that serves connections.
    let made = tokio::task::spawn_blocking(move || native_block(&target.columns(), &rows)).await;
    let block = match made {
        Ok(block) => Bytes::from(block.map_err(StorageError::Rows)?),
        Err(error) => return Err(StorageError::Unreachable(format!("the rows were not prepared: {error}"))),
    };
    let limit = storage.insert_timeout;
    match tokio::time::timeout(limit, send(storage, guard, batch, range, block)).await {
        Ok(result) => result,
        Err(_) => Err(StorageError::TimedOut(limit)),
    }
}

async fn send(
    storage: &Storage,
    guard: &InsertGuard,
    batch: &Sealed,
    range: &Range<usize>,
    mut block: Bytes,
) -> Result<(), StorageError> {
    let sql = format!("INSERT INTO {}.{} FORMAT Native", storage.database, batch.target.table());
    let mut insert = storage
        .client
        .insert_formatted_with(sql)
        .with_setting("insert_deduplicate", "1")
        .with_setting("insert_deduplication_token", batch.token(range))
        .with_setting("async_insert", "0")
        .with_setting("log_comment", mark(batch.stream))
        // A table that has drifted refuses the rows, instead of storing them bent to its types.
        .with_setting("input_format_native_allow_types_conversion", "0")
        // The answer means that the rows are in a part, so it must not be given early.
        .with_setting("wait_end_of_query", "1")
        // A batch holds the exchanges and days that it holds.
        .with_setting("max_partitions_per_insert_block", "0")
        // A client that stands still in the middle of the rows is given up, before somebody else may have the lease.
        .with_setting("http_receive_timeout", whole_seconds(limits::INSERT_STALL))
        // After this the server has given up as well: nothing of an insert that we count as failed appears later than that.
        .with_setting("max_execution_time", whole_seconds(storage.insert_timeout));
    while !block.is_empty() {
        let chunk = block.split_to(block.len().min(limits::INSERT_CHUNK_BYTES));
        still_ours(guard)?;
        insert.send(chunk).await?;
    }
    // Without its end the server drops all of it.
    still_ours(guard)?;
    insert.end().await.map_err(StorageError::from)
}

/// A process that was stopped for a while has not heard yet that it lost the lease: it must ask before each step.
fn still_ours(guard: &InsertGuard) -> Result<(), StorageError> {
    if guard.may_go_on() {
        return Ok(());
    }
    Err(StorageError::Unreachable("the lease of the stream ran out during the insert".to_owned()))
}

fn whole_seconds(duration: Duration) -> String {
    duration.as_secs().max(1).to_string()
}
