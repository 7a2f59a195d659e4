//! The synthetic stream.

use marketprism_config::Problems;
use marketprism_schema::SELFTEST_RATES;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A synthetic stream of numbered trades through the whole path, which shows loss and latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelfTestSettings {
    /// Publish it, as trades of the exchange `selftest`.
    pub enabled: bool,
    /// Trades a second: 1, 2, 5 or 10.
    #[schemars(range(min = 1, max = 10))]
    pub rate: u32,
}

impl Default for SelfTestSettings {
    fn default() -> Self {
        Self { enabled: false, rate: 1 }
    }
}

impl SelfTestSettings {
    pub(super) fn check(self, problems: &mut Problems<'_>) {
        let allowed = SELFTEST_RATES.map(|rate| rate.to_string()).join(", ");
        problems.demand(
            SELFTEST_RATES.contains(&self.rate),
            "selftest.rate",
            format!("is {}", self.rate),
            allowed,
        );
    }
}
