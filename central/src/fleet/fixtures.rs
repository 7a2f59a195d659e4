//! Heartbeats for tests.

use std::time::Duration;

use marketprism_schema::{
    AdapterState, AdapterSwap, EDGE_HEARTBEAT_VERSION, EdgeHeartbeat, EdgeRunState, FeedHeartbeat,
    FeedRunState, RunningAdapter,
};

use super::edge::FleetEdge;
use super::read::StoredHeartbeat;

pub fn heartbeat(edge: &str) -> EdgeHeartbeat {
    let swap = |number, adapter: &str, outcome: &str| AdapterSwap {
        number,
        adapter: Some(adapter.to_owned()),
        source: "http".into(),
        digest: "ab".into(),
        from: None,
        to: None,
        step: "done".into(),
        outcome: outcome.into(),
        cause: None,
        started: 6,
        ended: Some(7),
    };
    EdgeHeartbeat {
        version: EDGE_HEARTBEAT_VERSION,
        edge: edge.to_owned(),
        region: "r".into(),
        program_version: "1".into(),
        host: "h".into(),
        started: 5_000_000,
        state: EdgeRunState::Running,
        status: "healthy".into(),
        reasons: Vec::new(),
        adapters: vec![RunningAdapter {
            adapter: "sim".into(),
            version: "1.1.0".into(),
            digest: "ab".into(),
            state: AdapterState::Active,
            exchanges: vec!["sim_spot".into()],
        }],
        swaps: vec![swap(1, "sim", "refused"), swap(2, "sim", "promoted"), swap(3, "other", "refused")],
        followed: Vec::new(),
        feeds: vec![FeedHeartbeat {
            exchange: "sim_spot".into(),
            state: FeedRunState::Running,
            reason: None,
            instruments: 2,
            streams: 4,
            newest_event: None,
        }],
        data_dir: "/d".into(),
        disk: None,
        journal: None,
        clock: None,
        resident_bytes: Some(64 << 20),
    }
}

/// An edge of a report.
pub fn edge(name: &str, age: Duration, state: EdgeRunState) -> FleetEdge {
    let beat = Ok(EdgeHeartbeat { state, ..heartbeat(name) });
    let (edge, unknown) = (name.to_owned(), Vec::new());
    FleetEdge::new(&StoredHeartbeat { edge, revision: 1, stored_ns: 0, beat, unknown }, age)
}
