//! Inserts of the ledger's rows into hot.

use bytes::Bytes;

use crate::limits;
use crate::row::TableRows;
use crate::storage::{InsertSettings, Storage, StorageError, always, log_without_view, without_views};

/// The rows of a repetition replace equal rows.
pub async fn insert(storage: &Storage, table: &str, rows: &TableRows) -> Result<(), StorageError> {
    let block = Bytes::from(rows.whole_block().map_err(StorageError::Rows)?);
    match send(storage, table, block.clone(), always()).await {
        Err(error @ StorageError::View { is_passing: false, .. }) => {
            log_without_view(table, &error);
            send(storage, table, block, always().into_iter().chain(without_views()).collect()).await
        }
        sent => sent,
    }
}

async fn send(
    storage: &Storage,
    table: &str,
    mut block: Bytes,
    settings: InsertSettings,
) -> Result<(), StorageError> {
    let limit = storage.insert_timeout;
    let sql = format!("INSERT INTO {}.{table} FORMAT Native", storage.database);
    let sending = async {
        let insert = storage.client.insert_formatted_with(sql);
        let mut insert = settings
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
