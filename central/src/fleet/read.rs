//! Reads and removes heartbeats. Without the bucket there is no edge yet.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream::kv::{Operation, Store};
use futures_util::{StreamExt as _, TryStreamExt as _};
use marketprism_schema::{
    EDGE_LEASES_BUCKET, EdgeHeartbeat, EdgeRunState, UnknownName, edge_heartbeat_key, edge_heartbeat_subject,
    edge_of_heartbeat, with_unknown_names,
};

use super::edge::{EdgeLife, FleetEdge};
use crate::broker::{Broker, within};
use crate::limits::{EDGES_MAX, HEARTBEATS_AT_ONCE};
use crate::storage::shorten;

/// Newest value of an edge's key.
#[derive(Debug, Clone)]
pub struct StoredHeartbeat {
    pub edge: String,
    pub revision: u64,
    /// By the broker's clock.
    pub stored_ns: i64,
    pub beat: Result<EdgeHeartbeat, String>,
    /// Names in it that this version does not know.
    pub unknown: Vec<UnknownName>,
}

impl StoredHeartbeat {
    /// As a replica of the bucket answers that lags. Sequences begin again in a bucket that was created again, times do not.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.revision < other.revision && self.stored_ns < other.stored_ns
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.beat.as_ref().is_ok_and(|beat| beat.state == EdgeRunState::Stopped)
    }
}

/// All heartbeats, and the time at the broker when they were listed.
#[derive(Debug, Default)]
pub struct ListedHeartbeats {
    pub now_ns: i64,
    pub beats: Vec<StoredHeartbeat>,
}

/// The edges as a command sees them: their ages are differences of two times of the broker.
pub async fn read_edges(broker: &Broker) -> anyhow::Result<Vec<FleetEdge>> {
    let ListedHeartbeats { now_ns, beats } = list_heartbeats(broker).await?;
    let age = |stored_ns: i64| {
        Duration::from_nanos(u64::try_from(now_ns.saturating_sub(stored_ns)).unwrap_or_default())
    };
    Ok(beats.iter().map(|stored| FleetEdge::new(stored, age(stored.stored_ns))).collect())
}

/// Removes the heartbeat of a retired edge. One that still writes is refused.
pub async fn forget_edge(broker: &Broker, edge: &str) -> anyhow::Result<()> {
    let edges = read_edges(broker).await?;
    let names = || edges.iter().map(|one| one.edge.as_str()).collect::<Vec<_>>().join(", ");
    let known = edges.iter().find(|one| one.edge == edge);
    let known = known.with_context(|| format!("edge {edge:?} is not known (allowed: {})", names()))?;
    if matches!(known.state, EdgeLife::Running) {
        let age = known.heartbeat_age_seconds;
        bail!("edge {edge:?} is running, its newest heartbeat is {age} s old: stop it first");
    }
    let store = bucket(broker).await?.context("the bucket does not exist")?;
    within("remove the heartbeat", store.purge(edge_heartbeat_key(edge))).await??;
    Ok(())
}

pub async fn list_heartbeats(broker: &Broker) -> anyhow::Result<ListedHeartbeats> {
    let filter = edge_heartbeat_subject("*");
    let listed = broker.subjects(&format!("KV_{EDGE_LEASES_BUCKET}"), &filter).await;
    let Some(listed) = listed.context("cannot list the edges")? else {
        return Ok(ListedHeartbeats::default());
    };
    let Some(store) = bucket(broker).await? else { return Ok(ListedHeartbeats::default()) };
    let prefix = format!("$KV.{EDGE_LEASES_BUCKET}.");
    let edges = listed.subjects.into_keys().take(EDGES_MAX);
    let edges =
        edges.filter_map(|subject| edge_of_heartbeat(subject.strip_prefix(&prefix)?).map(str::to_owned));
    let reads = edges.map(|edge| read(&store, edge));
    let read = futures_util::stream::iter(reads).buffered(HEARTBEATS_AT_ONCE).try_collect::<Vec<_>>();
    let beats = within("read the heartbeats", read).await??.into_iter().flatten().collect();
    Ok(ListedHeartbeats { now_ns: listed.now_ns, beats })
}

async fn bucket(broker: &Broker) -> anyhow::Result<Option<Store>> {
    use async_nats::jetstream::context::KeyValueErrorKind;
    match within("open the bucket", broker.jetstream.get_key_value(EDGE_LEASES_BUCKET)).await? {
        Ok(store) => Ok(Some(store)),
        Err(error) if error.kind() == KeyValueErrorKind::GetBucket => Ok(None),
        Err(error) => Err(error).context(format!("cannot open bucket {EDGE_LEASES_BUCKET}")),
    }
}

/// `None`: it was removed.
async fn read(store: &Store, edge: String) -> anyhow::Result<Option<StoredHeartbeat>> {
    let key = edge_heartbeat_key(&edge);
    let entry = store.entry(&key).await.with_context(|| format!("cannot read key {key}"))?;
    let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { return Ok(None) };
    let (beat, unknown) = with_unknown_names(|| EdgeHeartbeat::of_key(&edge, &entry.value));
    let beat = beat.map_err(|error| shorten(&error.to_string()));
    let stored_ns = i64::try_from(entry.created.unix_timestamp_nanos()).unwrap_or_default();
    Ok(Some(StoredHeartbeat { edge, revision: entry.revision, stored_ns, beat, unknown }))
}
