//! `[batch]`: when rows are inserted.

use std::time::Duration;

use marketprism_config::Section;

/// When a batch is full.
#[derive(Debug, Clone)]
pub struct BatchLimits {
    /// Rows of trades.
    pub trades: usize,
    /// Rows of order books.
    pub orderbooks: usize,
    /// Rows of every other table, and of dead letters.
    pub others: usize,
    /// Bytes of rows and payloads.
    pub max_bytes: usize,
    /// Age of the oldest row.
    pub max_age: Duration,
    /// Batches being inserted, per stream. With so many, no more messages are taken: this and `max_bytes` bound the memory.
    pub max_in_flight: usize,
    /// Ids remembered after insertion, per stream, to recognize an event that is published again.
    pub recent_event_ids: usize,
}

impl BatchLimits {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let size = |key, default, range| {
            usize::try_from(section.integer_or(key, default, range)).unwrap_or(usize::MAX)
        };
        Self {
            trades: size("trades", 10_000, 1..=1_000_000),
            orderbooks: size("orderbooks", 2_000, 1..=1_000_000),
            others: size("others", 800, 1..=1_000_000),
            max_bytes: size("max_bytes", 32 << 20, 65_536..=256 << 20),
            max_age: section.millis_or("max_age_ms", 1_000, 10..=60_000),
            max_in_flight: size("max_in_flight", 4, 1..=64),
            recent_event_ids: size("recent_event_ids", 1_000_000, 1_000..=100_000_000),
        }
    }
}
