//! The KV bucket of the wanted versions. Each change is a compare-and-swap: of two promotions of one adapter the second stops.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};
use async_nats::Client;
use async_nats::jetstream::kv::{Operation, Store, UpdateErrorKind};
use futures_util::TryStreamExt as _;
use marketprism_schema::{
    ADAPTERS_WANTED_SUBJECT, AdapterVersion, WANTED_ADAPTERS_BUCKET, WantedAdapter, WantedVersion,
};

use crate::broker::{Broker, within};
use crate::clock;

#[derive(Debug, Clone)]
pub struct Wishes {
    store: Store,
    client: Client,
}

/// Wanted versions of an adapter with their revision.
#[derive(Debug, Clone)]
pub(super) struct AdapterWishes {
    pub(super) wanted: WantedAdapter,
    adapter: String,
    revision: u64,
}

impl Wishes {
    /// Opens the bucket, creating it if needed.
    pub async fn open(broker: &Broker, replicas: usize) -> anyhow::Result<Self> {
        let description = "adapter versions that edges shall run";
        let opened = broker.bucket(WANTED_ADAPTERS_BUCKET, description, replicas).await?;
        Ok(Self { store: opened.store, client: broker.client.clone() })
    }

    pub(super) async fn read(&self, adapter: &str) -> anyhow::Result<AdapterWishes> {
        let place = || format!("bucket {WANTED_ADAPTERS_BUCKET}, key {adapter}");
        let entry =
            within("read the wanted versions", self.store.entry(adapter)).await?.with_context(place)?;
        let (wanted, revision) = match entry {
            None => (WantedAdapter::default(), 0),
            Some(entry) if entry.operation != Operation::Put => (WantedAdapter::default(), entry.revision),
            Some(entry) => {
                let wanted = serde_json::from_slice(&entry.value).context("no wanted versions");
                (wanted.with_context(place)?, entry.revision)
            }
        };
        Ok(AdapterWishes { wanted, adapter: adapter.to_owned(), revision })
    }

    pub(super) async fn write(&self, wishes: &mut AdapterWishes) -> anyhow::Result<()> {
        let AdapterWishes { wanted, adapter, revision } = wishes;
        let value = serde_json::to_vec(wanted)?.into();
        let written = self.store.update(&*adapter, value, *revision);
        let written = within("write the wanted versions", written).await?;
        *revision = written.map_err(|error| match error.kind() {
            UpdateErrorKind::WrongLastRevision => {
                anyhow!("another command changed the wanted versions of {adapter} meanwhile; look at `adapters status`")
            }
            _ => anyhow::Error::new(error).context("cannot write the wanted versions"),
        })?;
        // Without the notice edges find it at their next look.
        let notice = async {
            self.client.publish(ADAPTERS_WANTED_SUBJECT, adapter.clone().into()).await?;
            self.client.flush().await.map_err(anyhow::Error::from)
        };
        if let Err(error) = within("notify the edges", notice).await.flatten() {
            tracing::debug!(error = format!("{error:#}"), "edges not notified of the wanted versions");
        }
        Ok(())
    }

    /// By adapter.
    pub async fn all(&self) -> anyhow::Result<BTreeMap<String, WantedAdapter>> {
        let keys = async {
            self.store.keys().await?.try_collect::<Vec<String>>().await.map_err(anyhow::Error::from)
        };
        let keys =
            within("list the wanted versions", keys).await?.context("cannot list the wanted versions")?;
        let mut all = BTreeMap::new();
        for adapter in keys {
            let wishes = self.read(&adapter).await?;
            all.insert(adapter, wishes.wanted);
        }
        Ok(all)
    }
}

pub(super) fn new_wish(target: AdapterVersion, accept: Vec<String>) -> WantedVersion {
    let wish = format!("{:x}-{:08x}", clock::now_ns() / 1_000_000, rand::random::<u32>());
    WantedVersion { wish, target, accept }
}
