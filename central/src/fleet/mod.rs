//! The edges, by their heartbeats in the KV bucket of the edges.
//!
//! A running central judges silence by its own monotonic clock, a command by the broker's alone: clocks of different machines are never compared.

mod edge;
#[cfg(test)]
pub mod fixtures;
mod newer;
mod read;
mod tracker;

pub use edge::{EdgeLife, FleetAdapter, FleetEdge, FleetSwap};
pub use newer::NewerEdges;
pub use read::{ListedHeartbeats, StoredHeartbeat, forget_edge, list_heartbeats, read_edges};
pub use tracker::{EdgeFleet, watch_edges};

use crate::metrics::Metrics;

/// Shows every state and field before the first edge is known.
pub fn expect_series(metrics: &Metrics) {
    for life in EdgeLife::ALL {
        metrics.fleet.edges.with_label_values(&[life.as_str()]);
    }
    let of_audit = [
        "data_type",
        "market_type",
        "numbering",
        "completeness",
        "kind",
        "cause",
        "reason",
        "hop",
        "outcome",
    ];
    let of_audit = of_audit.map(|field| ("audit", field));
    for (message, field) in of_audit.into_iter().chain([("heartbeat", "state")]) {
        metrics.fleet.unknown_names.with_label_values(&[message, field]);
    }
}
