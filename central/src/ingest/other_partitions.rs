//! Leases of a stream's other partitions, which the owner of the first one takes over so that nothing of the stream is in memory elsewhere or on its
//! way to hot.

use crate::config::{Partition, Stream};
use crate::context::CentralContext;
use crate::init::ingest_lease;
use crate::lease::Lease;
use crate::limits;
use crate::running_inserts::{log_comment_prefix, none_runs};

pub struct OtherPartitions(Vec<Lease>);

impl OtherPartitions {
    pub async fn take(shared: &CentralContext, stream: &Stream) -> anyhow::Result<Self> {
        let mut held = Self(Vec::new());
        for partition in Partition::all(stream).skip(1) {
            match shared.leases.demand(&ingest_lease(partition), limits::SHARE_PATIENCE).await {
                Ok(lease) => held.0.push(lease),
                Err(error) => {
                    held.release().await;
                    return Err(error);
                }
            }
            no_insert_runs(shared, &partition.name()).await;
        }
        Ok(held)
    }

    /// Gives them to whoever waits, without a wait for their expiry.
    pub async fn release(self) {
        for lease in self.0 {
            lease.release().await;
        }
    }
}

/// Waits until the server runs no insert of the partition.
pub async fn no_insert_runs(shared: &CentralContext, partition: &str) {
    let on_error = |reason| {
        shared.status.fail(partition, reason);
    };
    none_runs(&shared.config.clickhouse, &shared.storage, &log_comment_prefix(partition), on_error).await;
}
