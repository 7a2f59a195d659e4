//! `[sandbox]`: bounds of adapter instances.

use std::time::Duration;

use marketprism_adapter_host::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds of one adapter instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sandbox {
    /// Longest adapter call.
    #[serde(rename = "call_deadline_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 10, max = 60_000))]
    pub call_deadline: Duration,
    /// Memory of one adapter instance.
    #[serde(rename = "memory_limit_bytes")]
    #[schemars(range(min = 1_048_576, max = 4_294_967_296_u64))]
    pub memory_bytes: usize,
    /// Frames kept that made an adapter fault.
    #[serde(rename = "quarantine_max_files")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub quarantine_files: usize,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self { call_deadline: Duration::from_millis(100), memory_bytes: 64 << 20, quarantine_files: 1_000 }
    }
}

impl Sandbox {
    /// Without what belongs to no feed.
    pub const fn of_feeds(self) -> Self {
        Self { quarantine_files: 0, ..self }
    }

    /// The host's limits with these bounds.
    pub fn limits(&self) -> Limits {
        Limits { call_deadline: self.call_deadline, memory_bytes: self.memory_bytes, ..Limits::default() }
    }
}
