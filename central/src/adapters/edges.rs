//! The newest heartbeat of every edge.

use marketprism_schema::{AdapterState, AdapterVersion, EdgeHeartbeat, EdgeRunState, FollowedAdapter};

use crate::broker::Broker;
use crate::fleet::{ListedHeartbeats, StoredHeartbeat, list_heartbeats};
use crate::limits::EDGE_SILENT;
use crate::time::nanos;

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

/// The heartbeats in their bucket.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeats<'a>(pub &'a Broker);

impl Heartbeats<'_> {
    /// By region and name.
    pub async fn read(&self) -> anyhow::Result<Vec<EdgeReport>> {
        Ok(self.read_all().await?.0)
    }

    /// Also the edges whose heartbeats cannot be read.
    pub(super) async fn read_all(&self) -> anyhow::Result<(Vec<EdgeReport>, Vec<String>)> {
        let ListedHeartbeats { now_ns, beats } = list_heartbeats(self.0).await?;
        let (mut reports, mut unreadable) = (Vec::new(), Vec::new());
        for StoredHeartbeat { edge, revision, stored_ns, beat, .. } in beats {
            match beat {
                Ok(heartbeat) => reports.push(report(heartbeat, revision, now_ns.saturating_sub(stored_ns))),
                Err(error) => {
                    tracing::warn!(edge, error, "heartbeat not readable: the edge counts as unknown");
                    unreadable.push(edge);
                }
            }
        }
        reports.sort_by(|one, other| (&one.region, &one.edge).cmp(&(&other.region, &other.edge)));
        Ok((reports, unreadable))
    }
}

fn report(heartbeat: EdgeHeartbeat, revision: u64, age_ns: i64) -> EdgeReport {
    let EdgeHeartbeat { edge, region, state, adapters, followed, .. } = heartbeat;
    let is_stopped = state == EdgeRunState::Stopped;
    let published = adapters.into_iter().filter(|adapter| adapter.state != AdapterState::Shadow);
    let adapters = published
        .map(|one| (one.adapter, AdapterVersion { version: one.version, digest: one.digest }))
        .collect();
    let is_online = !is_stopped && age_ns < nanos(EDGE_SILENT);
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
