//! `[batch]`: when rows are inserted.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds of a batch; the first one reached starts the insert.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BatchLimits {
    /// Rows of an insert into trades.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub trades: usize,
    /// Rows of an insert into order books.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub orderbooks: usize,
    /// Rows of an insert into any other table, and into dead letters.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub others: usize,
    /// Bytes of rows and payloads of an insert.
    #[schemars(range(min = 65_536, max = 268_435_456))]
    pub max_bytes: usize,
    /// Age of the oldest row at the insert.
    #[serde(rename = "max_age_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 10, max = 60_000))]
    pub max_age: Duration,
    /// Batches being inserted per stream. With so many, no more messages are pulled: this and `max_bytes` bound the memory.
    #[schemars(range(min = 1, max = 64))]
    pub max_in_flight: usize,
    /// Event ids kept in memory per stream to recognize events that are published again.
    #[schemars(range(min = 1_000, max = 100_000_000))]
    pub recent_event_ids: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            trades: 10_000,
            orderbooks: 2_000,
            others: 800,
            max_bytes: 32 << 20,
            max_age: Duration::from_secs(1),
            max_in_flight: 4,
            recent_event_ids: 1_000_000,
        }
    }
}
