//! `[ledger]`: the comparison of audits with hot.

use std::time::Duration;

use marketprism_config::Problems;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Windows and pace of the comparison.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// Windows of `received_at` in which audits are compared: a divisor of 3600, at least the edges' own.
    #[serde(rename = "window_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 3_600))]
    pub window: Duration,
    /// A window may be open this long after its end, while its audit and last rows are on their way.
    #[serde(rename = "grace_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 86_400))]
    pub grace: Duration,
    /// Pause between two rounds.
    #[serde(rename = "interval_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 50, max = 600_000))]
    pub interval: Duration,
    /// Everything in hot is compared again this often, as 1 % of the time of one thread allows.
    #[serde(rename = "recheck_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 86_400))]
    pub recheck: Duration,
    /// Retention of audits, verdicts and losses, days.
    #[schemars(range(min = 1, max = 3_650))]
    pub retention_days: u32,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            grace: Duration::from_secs(120),
            interval: Duration::from_secs(5),
            recheck: Duration::from_secs(600),
            retention_days: 35,
        }
    }
}

impl Ledger {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        let seconds = self.window.as_secs();
        let divides = 3_600_u64.is_multiple_of(seconds);
        problems.demand(
            divides,
            "ledger.window_seconds",
            format!("is {seconds}"),
            "a number that divides an hour",
        );
    }
}
