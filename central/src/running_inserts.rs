//! Inserts of streams that the server of hot still runs, whoever sent them.

use tokio::time::sleep;

use crate::config::ClickHouse;
use crate::limits;
use crate::sql;
use crate::storage::{ACCESS_DENIED, Storage, StorageError, bounded};

/// Begin of `log_comment` of every insert of a partition. A new owner finds running inserts by it.
pub fn log_comment_prefix(partition: &str) -> String {
    format!("{};", of_stream(partition))
}

/// Begin of `log_comment` of the inserts of all partitions of a stream.
pub fn of_stream(stream: &str) -> String {
    format!("marketprism-ingest {stream}")
}

/// Waits until the server runs no insert whose comment begins so. `on_error` gets the reason when the server does not list them.
pub async fn none_runs(clickhouse: &ClickHouse, storage: &Storage, prefix: &str, on_error: impl Fn(String)) {
    let mut backoff = limits::BACKOFF;
    let mut was_quiet = false;
    loop {
        match running(clickhouse, storage, prefix).await {
            // An insert may be accepted but not listed yet: two quiet answers in a row.
            Ok(0) if was_quiet => return,
            Ok(inserts) => {
                was_quiet = inserts == 0;
                sleep(limits::QUIET_POLL).await;
            }
            Err(StorageError::Refused { code: ACCESS_DENIED, text }) => {
                // They end by themselves: the body within the first timeout, the work within the second.
                tracing::warn!(
                    prefix,
                    text,
                    "no privilege to list running inserts; waiting until they must have ended"
                );
                return sleep(storage.insert_timeout * 2).await;
            }
            Err(error) => {
                was_quiet = false;
                on_error(format!("cannot list running inserts of clickhouse: {error}"));
                sleep(backoff.pause()).await;
            }
        }
    }
}

async fn running(clickhouse: &ClickHouse, storage: &Storage, prefix: &str) -> Result<u64, StorageError> {
    let processes = match &clickhouse.hot.cluster {
        // The previous owner may have used another server of the cluster.
        Some(cluster) => format!("clusterAllReplicas({}, system.processes)", sql::quote(cluster)),
        None => "system.processes".to_owned(),
    };
    let sql = format!("SELECT count() FROM {processes} WHERE startsWith(Settings['log_comment'], ?)");
    let query = storage.client.query(&sql).with_setting("skip_unavailable_shards", "1");
    bounded(limits::QUERY_TIMEOUT, query.bind(prefix).fetch_one::<u64>()).await
}
