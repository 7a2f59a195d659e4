//! Words of an audit about the edge itself: its clock, and latencies since the audit before.

use std::sync::Arc;

use marketprism_schema::EdgeHealth;

use crate::clocks::VenueClocks;
use crate::telemetry::{HopLatencies, Metrics};

#[derive(Default)]
pub(super) struct HealthTaker {
    latencies: HopLatencies,
    pub(super) clocks: Option<Arc<VenueClocks>>,
}

impl HealthTaker {
    pub(super) fn take(&mut self, metrics: &Metrics) -> EdgeHealth {
        let clocks = self.clocks.as_ref();
        EdgeHealth {
            clocks: clocks.map(|clocks| clocks.newest()).unwrap_or_default(),
            clock_steps: clocks.map(|clocks| clocks.take_steps()).unwrap_or_default(),
            latencies: self.latencies.take(metrics),
        }
    }
}
