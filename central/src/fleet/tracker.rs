//! Watches the heartbeats: an edge whose key does not change for a time is silent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use marketprism_schema::UnknownName;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::edge::{EdgeLife, FleetEdge};
use super::newer::NewerEdges;
use super::read::{StoredHeartbeat, list_heartbeats};
use crate::broker::Broker;
use crate::limits::{EDGE_SILENT, EDGES_LOOK};
use crate::metrics::Metrics;

/// The edges that a running central knows.
#[derive(Debug, Default)]
pub struct EdgeFleet(Mutex<SeenFleet>);

#[derive(Debug)]
struct SeenFleet {
    edges: BTreeMap<String, SeenEdge>,
    /// Error of the last read. While the broker is unreachable no edge can write.
    problem: Option<String>,
    newer: NewerEdges,
}

#[derive(Debug)]
struct SeenEdge {
    stored: StoredHeartbeat,
    /// First look that found this revision.
    since: Instant,
    is_silent: bool,
}

impl Default for SeenFleet {
    fn default() -> Self {
        let problem = Some("the heartbeats have not been read yet".to_owned());
        Self { edges: BTreeMap::new(), problem, newer: NewerEdges::default() }
    }
}

/// Looks until `stop`.
pub async fn watch_edges(fleet: &EdgeFleet, broker: &Broker, metrics: &Metrics, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let listed = tokio::select! {
            listed = list_heartbeats(broker) => listed,
            () = stop.cancelled() => return,
        };
        match listed {
            Ok(listed) => {
                let unknown = fleet.see(listed.beats, Instant::now());
                metrics.fleet.count_unknown("heartbeat", &unknown);
            }
            Err(error) => fleet.fail(format!("{error:#}")),
        }
        fleet.show(metrics);
        tokio::select! {
            () = sleep(EDGES_LOOK) => {}
            () = stop.cancelled() => {}
        }
    }
}

impl EdgeFleet {
    fn lock(&self) -> MutexGuard<'_, SeenFleet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every edge, or why the last look failed.
    pub fn edges(&self) -> Result<Vec<FleetEdge>, String> {
        let fleet = self.lock();
        match &fleet.problem {
            Some(problem) => Err(problem.clone()),
            None => Ok(fleet
                .edges
                .values()
                .map(|seen| FleetEdge::new(&seen.stored, seen.since.elapsed()))
                .collect()),
        }
    }

    /// Names of silent edges.
    pub fn silent(&self) -> Vec<String> {
        let fleet = self.lock();
        fleet.edges.iter().filter(|(_, seen)| seen.is_silent).map(|(edge, _)| edge.clone()).collect()
    }

    /// Returns the unknown names of heartbeats that are new.
    fn see(&self, beats: Vec<StoredHeartbeat>, now: Instant) -> Vec<UnknownName> {
        let mut unknown = Vec::new();
        let mut fleet = self.lock();
        let was_away = fleet.problem.take().is_some();
        let listed: BTreeSet<String> = beats.iter().map(|stored| stored.edge.clone()).collect();
        fleet.edges.retain(|edge, _| listed.contains(edge));
        fleet.newer.retain(&listed);
        for stored in beats {
            let before = fleet.edges.remove(&stored.edge);
            let newest = before.as_ref().map(|seen| &seen.stored).filter(|newest| stored.is_before(newest));
            let stored = newest.cloned().unwrap_or(stored);
            let unchanged =
                before.as_ref().filter(|seen| seen.stored.revision == stored.revision && !was_away);
            let since = unchanged.map_or(now, |seen| seen.since);
            if before.as_ref().is_none_or(|seen| seen.stored.revision != stored.revision) {
                unknown.extend_from_slice(&stored.unknown);
                fleet.newer.log(&stored.edge, "heartbeat", &stored.unknown);
            }
            let is_silent = !stored.is_stopped() && now.duration_since(since) >= EDGE_SILENT;
            log_change(&stored.edge, before.is_some_and(|seen| seen.is_silent), is_silent);
            fleet.edges.insert(stored.edge.clone(), SeenEdge { stored, since, is_silent });
        }
        unknown
    }

    /// Time in which the heartbeats cannot be read says nothing about the edges.
    fn fail(&self, problem: String) {
        let mut fleet = self.lock();
        if fleet.problem.is_none() {
            tracing::warn!(problem, "heartbeats of the edges not readable: a silent edge goes unnoticed");
        }
        fleet.problem = Some(problem);
        fleet.edges.values_mut().for_each(|seen| seen.is_silent = false);
    }

    fn show(&self, metrics: &Metrics) {
        let edges = self.edges().unwrap_or_default();
        for life in EdgeLife::ALL {
            let count = edges.iter().filter(|edge| edge.state == *life).count();
            metrics
                .fleet
                .edges
                .with_label_values(&[life.as_str()])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        metrics.fleet.silent.reset();
        for edge in &edges {
            let is_silent = edge.state == EdgeLife::Silent;
            metrics.fleet.silent.with_label_values(&[&edge.edge]).set(i64::from(is_silent));
        }
    }
}

fn log_change(edge: &str, was_silent: bool, is_silent: bool) {
    let limit = EDGE_SILENT;
    match (was_silent, is_silent) {
        (false, true) => tracing::error!(edge, ?limit, "the edge is silent: no heartbeat within the limit"),
        (true, false) => tracing::info!(edge, "the edge is heard again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use marketprism_schema::EdgeRunState;

    use super::super::fixtures::heartbeat;
    use super::*;

    fn stored(edge: &str, revision: u64, state: EdgeRunState) -> StoredHeartbeat {
        let beat = Ok(marketprism_schema::EdgeHeartbeat { state, ..heartbeat(edge) });
        // A clock of the broker that is years behind does not matter.
        let stored_ns = i64::try_from(revision).unwrap();
        StoredHeartbeat { edge: edge.to_owned(), revision, stored_ns, beat, unknown: Vec::new() }
    }

    #[test]
    fn unknown_names_are_counted_once_a_heartbeat() {
        let (fleet, metrics) = (EdgeFleet::default(), Metrics::new().unwrap());
        let name = UnknownName { field: "state", value: "dreaming".into(), allowed: String::new() };
        for revision in [7, 7, 8] {
            let stored = StoredHeartbeat {
                unknown: vec![name.clone()],
                ..stored("e1", revision, EdgeRunState::Running)
            };
            metrics.fleet.count_unknown("heartbeat", &fleet.see(vec![stored], Instant::now()));
        }
        assert_eq!(metrics.fleet.unknown_names.with_label_values(&["heartbeat", "state"]).get(), 2);
    }

    #[test]
    fn an_edge_is_silent_once_its_revision_stands_still_and_not_while_nobody_can_write() {
        let (fleet, start) = (EdgeFleet::default(), Instant::now());
        assert!(fleet.edges().is_err(), "nothing was read yet");
        let running = EdgeRunState::Running;
        let see = |after: Duration, revisions: [u64; 2]| {
            let [one, two] = revisions;
            fleet.see(
                vec![stored("e1", one, running), stored("e2", two, EdgeRunState::Stopped)],
                start + after,
            );
            fleet.silent()
        };
        let second = Duration::from_secs(1);
        assert_eq!(see(Duration::ZERO, [7, 8]), [""; 0]);
        assert_eq!(see(EDGE_SILENT - second, [7, 8]), [""; 0]);
        assert_eq!(see(EDGE_SILENT, [7, 8]), ["e1"], "a stopped one is not silent");
        assert_eq!(see(EDGE_SILENT, [6, 8]), ["e1"], "a replica that lags is no sign of life");
        assert_eq!(see(EDGE_SILENT + second, [9, 8]), [""; 0], "it is heard again");
        fleet.fail("the broker is unreachable".to_owned());
        assert_eq!(fleet.edges().unwrap_err(), "the broker is unreachable");
        assert_eq!(see(EDGE_SILENT * 3, [9, 8]), [""; 0], "nobody could write");
        assert_eq!(see(EDGE_SILENT * 4, [9, 8]), ["e1"]);
        fleet.see(Vec::new(), start + EDGE_SILENT * 5);
        assert_eq!((fleet.edges().unwrap().len(), fleet.silent().len()), (0, 0), "it was forgotten");
    }
}
