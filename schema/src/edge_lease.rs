//! Leases of edge names: the process that runs an edge, in a KV bucket that central creates and edges write.

use serde::{Deserialize, Serialize};

/// Name of the bucket; its keys are names of edges.
pub const EDGE_LEASES_BUCKET: &str = "MARKETPRISM_EDGES";

/// Value of an edge's key, written again while the edge runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeLease {
    /// Name of the edge.
    pub edge: String,
    /// Name of its host.
    pub host: String,
    /// Process id there.
    pub pid: u32,
    /// Identity of its data folder: of two processes with the same one the earlier is dead.
    pub data_id: String,
    /// Start of the process, nanoseconds since 1970 by its host's clock.
    pub since: i64,
}

/// Subject under which an edge writes its lease.
pub fn edge_lease_subject(edge: &str) -> String {
    format!("$KV.{EDGE_LEASES_BUCKET}.{edge}")
}

/// Subject of a request for the newest value.
pub fn edge_lease_request_subject(edge: &str) -> String {
    format!("$JS.API.DIRECT.GET.KV_{EDGE_LEASES_BUCKET}.{}", edge_lease_subject(edge))
}
