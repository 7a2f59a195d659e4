//! Latencies by hop, and clocks of the edges.

use serde::Serialize;
use utoipa::ToSchema;

use crate::report::Time;

/// Latencies of the period by hop, and how far they can be trusted.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct LatencyReport {
    /// By edge, exchange and data type.
    pub streams: Vec<StreamLatency>,
    /// Offsets of the edges' clocks from those of the venues.
    pub clocks: Vec<EdgeClock>,
    /// Times at which the clock of an edge's machine was set: the newest 100, the newest first.
    pub clock_steps: Vec<EdgeClockStep>,
}

/// Latencies of one data type of one exchange at one edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StreamLatency {
    pub edge: String,
    pub exchange: String,
    pub data_type: String,
    /// In the order of an event's way.
    pub hops: Vec<HopQuantiles>,
    /// Trust in `venue_to_edge`, which compares two clocks: the offset between them with the bound of its error. Then trust in `edge_to_hot`:
    /// the edge's clock against the venue with the least error.
    pub trust: String,
}

/// Latency of one hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HopQuantiles {
    /// `venue_to_edge`, `receive_to_publish`, `publish_to_ack` (by the edge's audits, within the width of their buckets), or `edge_to_hot`:
    /// receipt to the start of the insert, by the newest rows of the period; it compares the edge's clock with that of the hot server.
    pub hop: &'static str,
    pub events: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
}

/// Clock of an edge against that of a venue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EdgeClock {
    pub edge: String,
    pub exchange: String,
    /// Newest measurement: the edge's clock minus the venue's.
    pub offset_us: i64,
    /// Bound of its error, in both directions.
    pub error_us: i64,
    pub measured_at: Time,
    /// Measurement of the period with the greatest offset beyond its error.
    pub worst_offset_us: i64,
    pub worst_error_us: i64,
}

/// A step of the clock of an edge's machine against its monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EdgeClockStep {
    pub edge: String,
    /// Time after the step, by the new clock.
    pub at: Time,
    /// Positive: the clock was set forward.
    pub by_us: i64,
}
