//! The KV bucket of the leases.

use anyhow::Context as _;
use async_nats::jetstream::kv::{Operation, Store, UpdateErrorKind};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::broker::{Broker, within};

const BUCKET: &str = "MARKETPRISM_LEASES";
const DESCRIPTION: &str = "leases of tasks that one central does at a time";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) holder: String,
    /// Unique per acquisition, so that a holder recognizes its own write.
    pub(super) term: String,
    /// Acquired at, nanoseconds since 1970 by the holder's clock; informational.
    pub(super) since_ns: i64,
}

#[derive(Debug, Clone)]
pub(super) struct StoredClaim {
    pub(super) claim: Claim,
    pub(super) revision: u64,
    /// Stored by the broker at, nanoseconds since 1970; informational.
    pub(super) stored_ns: i64,
}

/// New revision of a successful compare-and-swap; `None` if another process wrote in between.
pub(super) type Swapped = Option<u64>;

/// The bucket, opened on first use because the broker may start later.
#[derive(Debug)]
pub(super) struct Bucket {
    broker: Broker,
    replicas: usize,
    store: OnceCell<Store>,
}

impl Bucket {
    pub(super) fn new(broker: Broker, replicas: usize) -> Self {
        Self { broker, replicas, store: OnceCell::new() }
    }

    /// The claim under a key; `None` if the lease is free.
    pub(super) async fn read(&self, key: &str) -> anyhow::Result<Option<StoredClaim>> {
        let store = self.store().await?;
        let entry = bounded("read a lease", store.entry(key)).await?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { return Ok(None) };
        let claim = serde_json::from_slice(&entry.value)
            .with_context(|| format!("bucket {BUCKET}, key {key}: not a lease claim"))?;
        let stored_ns = i64::try_from(entry.created.unix_timestamp_nanos()).unwrap_or_default();
        Ok(Some(StoredClaim { claim, revision: entry.revision, stored_ns }))
    }

    /// Writes a claim where there is none.
    pub(super) async fn create(&self, key: &str, claim: &Claim) -> anyhow::Result<Swapped> {
        use async_nats::jetstream::kv::CreateErrorKind;
        let store = self.store().await?;
        let created = within("take a lease", store.create(key, json(claim)?)).await?;
        match created {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error).context("cannot take a lease"),
        }
    }

    /// Writes a claim over the one with the revision.
    pub(super) async fn update(&self, key: &str, claim: &Claim, revision: u64) -> anyhow::Result<Swapped> {
        let store = self.store().await?;
        let updated = within("renew a lease", store.update(key, json(claim)?, revision)).await?;
        match updated {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(error).context("cannot renew a lease"),
        }
    }

    pub(super) async fn put(&self, key: &str, claim: &Claim) -> anyhow::Result<()> {
        let store = self.store().await?;
        bounded("request a lease", store.put(key, json(claim)?)).await.map(drop)
    }

    /// Deletes a claim if it still has the revision.
    pub(super) async fn remove(&self, key: &str, revision: Option<u64>) -> anyhow::Result<()> {
        let store = self.store().await?;
        bounded("release a lease", store.delete_expect_revision(key, revision)).await
    }

    pub(super) async fn keys(&self) -> anyhow::Result<Vec<String>> {
        use futures_util::TryStreamExt as _;
        let store = self.store().await?;
        let listed =
            async { store.keys().await?.try_collect::<Vec<String>>().await.map_err(anyhow::Error::from) };
        within("list the leases", listed).await?
    }

    async fn store(&self) -> anyhow::Result<&Store> {
        self.store.get_or_try_init(|| self.broker.bucket(BUCKET, DESCRIPTION, self.replicas)).await
    }
}

fn json(claim: &Claim) -> anyhow::Result<Bytes> {
    Ok(serde_json::to_vec(claim)?.into())
}

async fn bounded<T, E>(what: &str, answer: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    within(what, answer).await?.with_context(|| format!("cannot {what}"))
}
