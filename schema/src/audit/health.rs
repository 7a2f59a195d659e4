//! An edge's clock and latencies in a window: how long events took from hop to hop, and how far their times can be trusted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::{AuditError, demand};
use crate::latency::LATENCY_BUCKETS;
use crate::names::{DataType, known_entries, names};

/// Offset of an edge's clock from a venue's, beyond the error of its measurement, above which the clock counts as wrong.
pub const CLOCK_OFFSET_MAX: Duration = Duration::from_millis(500);

/// Most latencies of an audit: 20 exchanges with every data type and hop. More: the rest is left out.
pub const LATENCIES_MAX: usize = 512;
/// Most clock readings, and most clock steps, of an audit. More: the rest is left out.
pub const CLOCKS_MAX: usize = 64;

names! {
    /// Part of an event's way through an edge.
    EdgeHop, "hop", {
        /// The venue's time of the event to its receipt. Includes the offset of the edge's clock from the venue's.
        VenueToEdge = "venue_to_edge",
        /// Receipt to the first publish.
        ReceiveToPublish = "receive_to_publish",
        /// First publish to the broker's acknowledgement.
        PublishToAck = "publish_to_ack",
    }
}

/// Events of one hop by latency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HopLatency {
    /// Exchange id.
    pub exchange: String,
    /// Data type of the events.
    pub data_type: DataType,
    /// Part of their way.
    pub hop: EdgeHop,
    /// Events by bucket (see [`LATENCY_BOUNDS_US`](crate::LATENCY_BOUNDS_US)); empty buckets at the end are left out.
    pub counts: Vec<u64>,
}

/// Offset of an edge's clock from a venue's, measured over the venue's time endpoint. Times of events are never corrected by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockReading {
    /// Exchange id.
    pub exchange: String,
    /// The edge's clock minus the venue's, nanoseconds: positive while the edge's is ahead.
    pub offset_ns: i64,
    /// Bound of the error of `offset_ns`, in both directions: half of the round trip, and the resolution of the venue's time.
    pub error_ns: i64,
    /// Time of the measurement by the edge's clock, nanoseconds since 1970 UTC.
    pub measured_at: i64,
}

impl ClockReading {
    /// Offset that is certain: what is left when the error is taken off.
    pub const fn certain_offset_ns(&self) -> i64 {
        let certain = self.offset_ns.saturating_abs().saturating_sub(self.error_ns);
        if certain > 0 { certain } else { 0 }
    }
}

/// The wall clock of an edge's machine was set, or the machine was suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockStep {
    /// Time after the step by the new clock, nanoseconds since 1970 UTC.
    pub at: i64,
    /// Step against the monotonic clock, nanoseconds: positive when the clock was set forward.
    pub by_ns: i64,
}

/// Clock and latencies of an edge in a window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeHealth {
    /// Newest reading of each venue with a time endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clocks: Vec<ClockReading>,
    /// Steps since the audit before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clock_steps: Vec<ClockStep>,
    /// Events published, acknowledged and received since the audit before.
    #[serde(default, deserialize_with = "known_entries", skip_serializing_if = "Vec::is_empty")]
    pub latencies: Vec<HopLatency>,
}

impl EdgeHealth {
    /// True without anything to say.
    pub const fn is_empty(&self) -> bool {
        self.clocks.is_empty() && self.clock_steps.is_empty() && self.latencies.is_empty()
    }

    pub(super) fn check(&self) -> Result<(), AuditError> {
        let lists = [
            ("health.clocks", self.clocks.len(), CLOCKS_MAX),
            ("health.clock_steps", self.clock_steps.len(), CLOCKS_MAX),
            ("health.latencies", self.latencies.len(), LATENCIES_MAX),
        ];
        for (field, found, most) in lists {
            demand(found <= most, field, &format!("{found} entries"), &format!("at most {most}"))?;
        }
        let buckets = self.latencies.iter().map(|latency| latency.counts.len()).max().unwrap_or_default();
        demand(
            buckets <= LATENCY_BUCKETS,
            "health.latencies.counts",
            &format!("{buckets} buckets"),
            &format!("at most {LATENCY_BUCKETS}"),
        )?;
        let is_negative = |reading: &&ClockReading| reading.error_ns < 0;
        let negative = self.clocks.iter().find(is_negative).map_or(0, |reading| reading.error_ns);
        demand(negative == 0, "health.clocks.error_ns", &negative, "0 or more")
    }
}
