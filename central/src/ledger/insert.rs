//! Inserts of the ledger's rows into hot.

use bytes::Bytes;

use crate::limits;
use crate::row::{Column, binary};
use crate::storage::{Storage, StorageError};

/// Rows in RowBinary. The rows of a repetition replace equal rows, so there is no deduplication token: after a kill ClickHouse may
/// know a token without holding its rows.
pub async fn insert(
    storage: &Storage,
    table: &str,
    columns: &[Column],
    rows: Bytes,
) -> Result<(), StorageError> {
    let limit = storage.insert_timeout;
    let sql = format!("INSERT INTO {}.{table} FORMAT RowBinaryWithNamesAndTypes", storage.database);
    let sending = async {
        let mut insert = storage
            .client
            .insert_formatted_with(sql)
            .with_setting("insert_deduplicate", "0")
            .with_setting("async_insert", "0")
            .with_setting("wait_end_of_query", "1")
            .with_setting("max_partitions_per_insert_block", "0")
            .with_setting("max_execution_time", limit.as_secs().max(1).to_string());
        insert.send(Bytes::from(header(columns))).await?;
        let mut rows = rows;
        while !rows.is_empty() {
            insert.send(rows.split_to(rows.len().min(limits::INSERT_CHUNK_BYTES))).await?;
        }
        insert.end().await
    };
    match tokio::time::timeout(limit, sending).await {
        Ok(result) => result.map_err(StorageError::from),
        Err(_) => Err(StorageError::TimedOut(limit)),
    }
}

/// Number of columns, names, types: a table that has drifted refuses the rows.
fn header(columns: &[Column]) -> Vec<u8> {
    let mut out = Vec::with_capacity(columns.len() * 40);
    binary::length(&mut out, columns.len());
    for (name, _) in columns {
        binary::text(&mut out, name);
    }
    for (_, kind) in columns {
        binary::text(&mut out, kind);
    }
    out
}
