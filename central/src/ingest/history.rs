//! Coverage of earlier runs, read once from hot so that a restart does not make data look missing.

use std::sync::Arc;

use marketprism_schema::Table;
use tokio_util::sync::CancellationToken;

use crate::context::CentralContext;
use crate::coverage::History;
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// Adds the newest stored times of every hot table to the coverage.
pub async fn read_history(shared: Arc<CentralContext>, stop: CancellationToken) -> anyhow::Result<()> {
    for table in Table::ALL {
        let mut backoff = limits::BACKOFF;
        loop {
            let read = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                read = history(&shared.storage, table.name) => read,
            };
            match read {
                Ok(history) => break shared.coverage.add_history(table.data_type, history),
                Err(error) => {
                    tracing::debug!(table = table.name, %error, "cannot read the coverage history yet; retrying");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }
    // A task that returns stops the process, so this one waits.
    stop.cancelled().await;
    Ok(())
}

async fn history(storage: &Storage, table: &str) -> Result<Vec<History>, StorageError> {
    let sql = format!(
        "SELECT toString(exchange) AS exchange, toUnixTimestamp64Milli(max(created_at)) AS created_at_ms, \
         toUnixTimestamp64Micro(max(timestamp)) AS timestamp_us FROM {}.{table} GROUP BY exchange",
        storage.database
    );
    bounded(limits::QUERY_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await
}
