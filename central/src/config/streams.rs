//! `[streams]`: what the broker keeps.

use std::time::Duration;

use marketprism_config::Section;
use marketprism_schema::{STREAMS, StreamSettings};

/// One stream as wanted.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Defaults of the schema with the configured overrides.
    pub settings: StreamSettings,
    /// Copies in a cluster.
    pub replicas: usize,
}

impl Stream {
    /// Every stream of the schema with its overrides.
    pub(super) fn read_all(section: &Section<'_>) -> Vec<Self> {
        let replicas = usize::try_from(section.integer_or("replicas", 1, 1..=5)).unwrap_or(1);
        let streams = STREAMS.into_iter().map(|defaults| {
            let own = section.section(&defaults.name.to_lowercase());
            let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            let bytes = u64::try_from(defaults.max_bytes).unwrap_or_default();
            let max_ack_pending = signed(own.integer_or(
                "max_ack_pending",
                defaults.max_ack_pending.unsigned_abs(),
                100..=10_000_000,
            ));
            let seconds = |key, default: Duration, range| {
                Duration::from_secs(own.integer_or(key, default.as_secs(), range))
            };
            let settings = StreamSettings {
                max_bytes: signed(own.integer_or("max_bytes", bytes, 1_048_576..=1 << 50)),
                max_age: seconds("max_age_seconds", defaults.max_age, 60..=366 * 86_400),
                duplicate_window: seconds("duplicate_window_seconds", defaults.duplicate_window, 1..=86_400),
                max_ack_pending,
                ..defaults
            };
            Self { settings, replicas }
        });
        streams.collect()
    }
}
