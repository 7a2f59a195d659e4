//! The `[selfcare]` section: when the edge restarts itself. Names, defaults and variables are those of the Python system.

use std::time::Duration;

use marketprism_config::Problems;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelfCareLimits {
    /// Stop cleanly and start again, with the same process id, when a limit is passed or a part makes no progress and cannot be
    /// restarted alone. `false`: both are only reported. The variable `AUTO_RESTART_ON_HEALTH_CRITICAL` (1 or 0) wins.
    pub auto_restart: bool,
    /// Resident memory in MB of 2^20 bytes; passed at one check. 0: no limit. The variable `COLLECTOR_MEMORY_MB` wins.
    #[schemars(range(min = 0, max = 1_048_576))]
    pub memory_mb: u64,
    /// CPU time in percent of one core, which several cores exceed; passed at 3 of the last 5 checks. 0: no limit. The variable
    /// `COLLECTOR_CPU_THRESHOLD` wins.
    #[schemars(range(min = 0, max = 100_000))]
    pub cpu_percent: u64,
    /// Hours since the start. 0: no limit. The variable `COLLECTOR_MAX_UPTIME_H` wins.
    #[schemars(range(min = 0, max = 87_600))]
    pub max_uptime_hours: u64,
    /// Time between two checks. The variable `COLLECTOR_MON_INTERVAL` wins.
    #[serde(rename = "monitor_interval_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 3_600))]
    pub monitor_interval: Duration,
    /// Least time from a start to the restart. The variable `COLLECTOR_RESTART_COOLDOWN` wins.
    #[serde(rename = "restart_cooldown_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 86_400))]
    pub restart_cooldown: Duration,
}

impl Default for SelfCareLimits {
    fn default() -> Self {
        Self {
            auto_restart: false,
            memory_mb: 800,
            cpu_percent: 90,
            max_uptime_hours: 24,
            monitor_interval: Duration::from_secs(60),
            restart_cooldown: Duration::from_secs(300),
        }
    }
}

impl SelfCareLimits {
    pub(super) fn take_predecessors(&mut self, problems: &mut Problems<'_>) {
        let key = "selfcare.auto_restart";
        if let Some(given) = problems.predecessor_flag("AUTO_RESTART_ON_HEALTH_CRITICAL", key) {
            self.auto_restart = given;
        }
        for (variable, key, most, value) in [
            ("COLLECTOR_MEMORY_MB", "selfcare.memory_mb", 1_048_576, &mut self.memory_mb),
            ("COLLECTOR_CPU_THRESHOLD", "selfcare.cpu_percent", 100_000, &mut self.cpu_percent),
            ("COLLECTOR_MAX_UPTIME_H", "selfcare.max_uptime_hours", 87_600, &mut self.max_uptime_hours),
        ] {
            if let Some(given) = problems.predecessor_number(variable, key, 0..=most) {
                *value = given;
            }
        }
        for (variable, key, most, value) in [
            (
                "COLLECTOR_MON_INTERVAL",
                "selfcare.monitor_interval_seconds",
                3_600,
                &mut self.monitor_interval,
            ),
            (
                "COLLECTOR_RESTART_COOLDOWN",
                "selfcare.restart_cooldown_seconds",
                86_400,
                &mut self.restart_cooldown,
            ),
        ] {
            if let Some(given) = problems.predecessor_number(variable, key, 1..=most) {
                *value = Duration::from_secs(given);
            }
        }
    }
}
