//! Inserts of the ledger's rows into hot.

use bytes::Bytes;

use crate::limits;
use crate::row::TableRows;
use crate::storage::{Storage, StorageError, always};

/// The rows of a repetition replace equal rows.
pub async fn insert(storage: &Storage, table: &str, rows: &TableRows) -> Result<(), StorageError> {
    let limit = storage.insert_timeout;
    let mut block = Bytes::from(rows.whole_block().map_err(StorageError::Rows)?);
    let sql = format!("INSERT INTO {}.{table} FORMAT Native", storage.database);
    let sending = async {
        let insert = storage.client.insert_formatted_with(sql);
        let mut insert = always()
            .into_iter()
            .fold(insert, |insert, (name, value)| insert.with_setting(name, value))
            .with_setting("async_insert", "0")
            // A table with drifted columns refuses the rows instead of converting them.
            .with_setting("input_format_native_allow_types_conversion", "0")
            // One that lost a column stores none without it.
            .with_setting("input_format_skip_unknown_fields", "0")
            .with_setting("wait_end_of_query", "1")
            .with_setting("max_partitions_per_insert_block", "0")
            .with_setting("max_execution_time", limit.as_secs().max(1).to_string());
        while !block.is_empty() {
            insert.send(block.split_to(block.len().min(limits::INSERT_CHUNK_BYTES))).await?;
        }
        insert.end().await
    };
    match tokio::time::timeout(limit, sending).await {
        Ok(result) => result.map_err(StorageError::from),
        Err(_) => Err(StorageError::TimedOut(limit)),
    }
}
