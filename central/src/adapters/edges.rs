//! The newest heartbeat of every edge.

use anyhow::Context as _;
use async_nats::jetstream::kv::{Operation, Store};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use marketprism_schema::{
    AdapterState, AdapterVersion, EDGE_LEASES_BUCKET, EdgeHeartbeat, EdgeRunState, FollowedAdapter,
    edge_of_heartbeat, stream_info_subject,
};
use serde::Deserialize;

use crate::broker::{Broker, within};
use crate::clock;
use crate::limits::HEARTBEAT_STALE;
use crate::time::{Time, nanos};

/// Heartbeat of an edge, as far as its adapters are concerned.
#[derive(Debug, Clone, Default)]
pub struct EdgeReport {
    pub edge: String,
    pub region: String,
    /// It runs, and its heartbeat is young by the broker's clock.
    pub is_online: bool,
    pub(super) is_stopped: bool,
    /// Changes with each heartbeat.
    pub(super) revision: u64,
    /// Names and versions of adapters whose events are published.
    pub(super) adapters: Vec<(String, AdapterVersion)>,
    pub(super) followed: Vec<FollowedAdapter>,
}

impl EdgeReport {
    pub(super) fn running(&self, adapter: &str) -> Option<&AdapterVersion> {
        self.adapters.iter().find(|(name, _)| name == adapter).map(|(_, version)| version)
    }
}

#[derive(Deserialize)]
struct BucketInfo {
    ts: String,
}

/// The bucket of the heartbeats.
#[derive(Debug, Clone)]
pub struct Heartbeats<'a> {
    broker: &'a Broker,
    store: Store,
}

impl<'a> Heartbeats<'a> {
    pub async fn open(broker: &'a Broker, replicas: usize) -> anyhow::Result<Self> {
        let opened = broker.bucket(EDGE_LEASES_BUCKET, "processes that run the edges", replicas).await?;
        Ok(Self { broker, store: opened.store })
    }

    /// By region and name.
    pub async fn read(&self) -> anyhow::Result<Vec<EdgeReport>> {
        let keys =
            async { self.store.keys().await?.try_collect::<Vec<_>>().await.map_err(anyhow::Error::from) };
        let keys = within("list the heartbeats", keys).await?.context("cannot list the heartbeats")?;
        let now_ns = self.now_ns().await?;
        let mut reports = Vec::new();
        for key in keys {
            let Some(edge) = edge_of_heartbeat(&key) else { continue };
            let entry = within("read a heartbeat", self.store.entry(&key)).await?;
            let entry =
                entry.with_context(|| format!("cannot read key {key} of bucket {EDGE_LEASES_BUCKET}"))?;
            let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { continue };
            let age_ns = now_ns - entry.created.unix_timestamp_nanos();
            match EdgeHeartbeat::decode(edge, &entry.value) {
                Ok(heartbeat) => reports.push(report(heartbeat, entry.revision, age_ns)),
                Err(error) => {
                    tracing::warn!(edge, %error, "heartbeat not readable: the edge counts as unknown")
                }
            }
        }
        reports.sort_by(|one, other| (&one.region, &one.edge).cmp(&(&other.region, &other.edge)));
        Ok(reports)
    }

    /// Clocks of different hosts are never compared: the broker's wrote the times of the entries too.
    async fn now_ns(&self) -> anyhow::Result<i128> {
        let subject = stream_info_subject(&format!("KV_{EDGE_LEASES_BUCKET}"));
        let info =
            within("ask for the broker's time", self.broker.client.request(subject, Bytes::new())).await?;
        let info = info.context("cannot ask for the broker's time")?;
        // Servers before 2.10 do not tell it.
        let told =
            serde_json::from_slice::<BucketInfo>(&info.payload).ok().and_then(|info| Time::parse(&info.ts));
        Ok(told.map_or_else(|| i128::from(clock::now_ns()), |time| i128::from(time.0) * 1_000_000))
    }
}

fn report(heartbeat: EdgeHeartbeat, revision: u64, age_ns: i128) -> EdgeReport {
    let EdgeHeartbeat { edge, region, state, adapters, followed, .. } = heartbeat;
    let is_stopped = state == EdgeRunState::Stopped;
    let published = adapters.into_iter().filter(|adapter| adapter.state != AdapterState::Shadow);
    let adapters = published
        .map(|one| (one.adapter, AdapterVersion { version: one.version, digest: one.digest }))
        .collect();
    let is_online = !is_stopped && age_ns < i128::from(nanos(HEARTBEAT_STALE));
    EdgeReport { edge, region, is_online, is_stopped, revision, adapters, followed }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An edge that runs version 1 of the adapter `x`.
    pub fn report(edge: &str, region: &str) -> EdgeReport {
        let version = AdapterVersion { version: "1".into(), digest: "d1".into() };
        EdgeReport {
            edge: edge.into(),
            region: region.into(),
            is_online: true,
            adapters: vec![("x".into(), version)],
            ..EdgeReport::default()
        }
    }
}
