//! `[streams]`: settings of the JetStream streams.

use std::time::Duration;

use marketprism_schema::{STREAMS, StreamSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One stream as configured.
#[derive(Debug, Clone)]
pub struct Stream {
    pub settings: StreamSettings,
    /// Copies in a cluster.
    pub replicas: usize,
}

/// The section as it is in the file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct StreamsSection {
    /// Copies of each stream and bucket; 3 on a cluster.
    #[schemars(range(min = 1, max = 5))]
    replicas: usize,
    market_data: StreamLimits,
    orderbook_snap: StreamLimits,
    audit: StreamLimits,
}

/// Retention of one stream.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct StreamLimits {
    /// Bytes kept; the oldest messages go first.
    #[schemars(range(min = 1_048_576, max = 1_125_899_906_842_624_u64))]
    max_bytes: i64,
    /// Age of the oldest message kept.
    #[serde(rename = "max_age_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 60, max = 31_622_400))]
    max_age: Duration,
    /// Time for which the broker remembers message ids.
    #[serde(rename = "duplicate_window_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 86_400))]
    duplicate_window: Duration,
    /// Unacknowledged messages of central's consumer.
    #[schemars(range(min = 100, max = 10_000_000))]
    max_ack_pending: i64,
}

impl Default for StreamsSection {
    fn default() -> Self {
        let [market_data, orderbook_snap, audit] = STREAMS.map(|defaults| StreamLimits {
            max_bytes: defaults.max_bytes,
            max_age: defaults.max_age,
            duplicate_window: defaults.duplicate_window,
            max_ack_pending: defaults.max_ack_pending,
        });
        Self { replicas: 1, market_data, orderbook_snap, audit }
    }
}

impl StreamsSection {
    /// Every stream of the schema with its settings.
    pub(super) fn streams(self) -> Vec<Stream> {
        let Self { replicas, market_data, orderbook_snap, audit } = self;
        let limits = [market_data, orderbook_snap, audit];
        let stream = |(defaults, limits): (StreamSettings, StreamLimits)| {
            let StreamLimits { max_bytes, max_age, duplicate_window, max_ack_pending } = limits;
            let settings =
                StreamSettings { max_bytes, max_age, duplicate_window, max_ack_pending, ..defaults };
            Stream { settings, replicas }
        };
        STREAMS.into_iter().zip(limits).map(stream).collect()
    }
}
