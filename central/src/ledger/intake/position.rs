//! Highest sequence of the audits in hot. Written before the acknowledgements: below the broker's ack floor it means that hot was put back
//! to an earlier state.

use anyhow::Context as _;

use super::batch::{AUDIT, AuditBatch};
use crate::config::{Partition, Stream};
use crate::context::CentralContext;
use crate::ingest::{positions, rewind, subscribe};
use crate::storage::StorageError;

pub struct AuditPosition {
    created_ns: i64,
    position: u64,
    /// Hot no longer has the position that was written last.
    pub is_put_back: bool,
}

impl AuditPosition {
    /// Compares hot with the broker. After a restore the broker delivers every audit again that hot may lack; equal rows replace each other.
    pub async fn start(shared: &CentralContext, stream: &Stream) -> anyhow::Result<Self> {
        let found = subscribe(shared, stream, Partition::first(stream)).await?;
        let created_ns = found.stream_created_ns;
        let storage = &shared.storage;
        let position = positions::newest(storage, AUDIT, created_ns).await?.position;
        if position < found.acknowledged {
            let from = positions::surely_held(storage, AUDIT, created_ns).await?.saturating_add(1);
            let acknowledged = found.acknowledged;
            tracing::error!(
                position,
                acknowledged,
                from,
                "hot was put back to an earlier state; audits are taken in again"
            );
            shared.metrics.put_back.with_label_values(&[AUDIT]).inc();
            rewind(shared, stream, from).await.context("cannot take in audits again")?;
            positions::write(storage, AUDIT, created_ns, from.saturating_sub(1)).await?;
            return Ok(Self { created_ns, position: from.saturating_sub(1), is_put_back: false });
        }
        Ok(Self { created_ns, position, is_put_back: false })
    }

    /// Call it when the batch is stored, before it is acknowledged.
    pub async fn advance(&mut self, shared: &CentralContext, batch: &AuditBatch) -> Result<(), StorageError> {
        if self.is_put_back {
            return Ok(());
        }
        if positions::newest(&shared.storage, AUDIT, self.created_ns).await?.position < self.position {
            self.is_put_back = true;
            return Ok(());
        }
        let stored = batch.entries.iter().map(|entry| entry.delivery.stream_seq).max().unwrap_or(0);
        if stored > self.position {
            positions::write(&shared.storage, AUDIT, self.created_ns, stored).await?;
            self.position = stored;
        }
        Ok(())
    }
}
