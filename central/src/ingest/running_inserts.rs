//! Inserts of a partition that the server still runs, whoever sent them.

use tokio::time::sleep;

use super::insert::log_comment_prefix;
use crate::context::CentralContext;
use crate::limits;
use crate::sql;
use crate::storage::{ACCESS_DENIED, StorageError, bounded};

/// Waits until the server runs no insert of the partition.
pub async fn no_insert_runs(shared: &CentralContext, partition: &str) {
    let mut backoff = limits::BACKOFF;
    let mut was_quiet = false;
    loop {
        match running_inserts(shared, partition).await {
            // An insert may be accepted but not listed yet: two quiet answers in a row.
            Ok(0) if was_quiet => return,
            Ok(inserts) => {
                was_quiet = inserts == 0;
                sleep(limits::QUIET_POLL).await;
            }
            Err(StorageError::Refused { code: ACCESS_DENIED, text }) => {
                // They end by themselves: the body within the first timeout, the work within the second.
                tracing::warn!(
                    partition,
                    text,
                    "no privilege to list running inserts; waiting until they must have ended"
                );
                return sleep(shared.storage.insert_timeout * 2).await;
            }
            Err(error) => {
                was_quiet = false;
                shared.status.fail(partition, format!("cannot list running inserts of clickhouse: {error}"));
                sleep(backoff.pause()).await;
            }
        }
    }
}

async fn running_inserts(shared: &CentralContext, partition: &str) -> Result<u64, StorageError> {
    let processes = match &shared.config.clickhouse.hot.cluster {
        // The previous owner may have used another server of the cluster.
        Some(cluster) => format!("clusterAllReplicas({}, system.processes)", sql::quote(cluster)),
        None => "system.processes".to_owned(),
    };
    let sql = format!("SELECT count() FROM {processes} WHERE startsWith(Settings['log_comment'], ?)");
    let query = shared.storage.client.query(&sql).with_setting("skip_unavailable_shards", "1");
    bounded(limits::QUERY_TIMEOUT, query.bind(log_comment_prefix(partition)).fetch_one::<u64>()).await
}
