//! Measurements of this machine's clock.

use std::time::Duration;

use marketprism_schema::CLOCK_OFFSET_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Offset of this machine's clock from those of the venues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockSettings {
    /// Compare this machine's clock with that of each venue whose adapter names a time endpoint. The offset is reported with a bound of its
    /// error; times of events are never corrected by it.
    pub enabled: bool,
    /// Time between two measurements of a venue, a tenth more or less: four requests each, when its budgets have room to spare.
    #[serde(rename = "interval_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 1_000, max = 86_400_000))]
    pub interval: Duration,
    /// Offset beyond its error above which the edge is degraded.
    #[serde(rename = "max_offset_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 1, max = 3_600_000))]
    pub max_offset: Duration,
}

impl Default for ClockSettings {
    fn default() -> Self {
        Self { enabled: true, interval: Duration::from_secs(300), max_offset: CLOCK_OFFSET_MAX }
    }
}
