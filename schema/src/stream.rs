//! The JetStream streams and their default settings.

use std::time::Duration;

use crate::DataType;

const MIB: i64 = 1024 * 1024;
const HOUR: Duration = Duration::from_secs(3600);

/// Kind of the messages of a stream; it decides which consumer pulls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Events, which become rows of hot storage.
    Events,
    /// Audits by edges, which the ledger compares with the rows.
    Audits,
}

/// Default settings of one stream. Replicas and all figures may be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Name on the broker.
    pub name: &'static str,
    /// Kind of its messages.
    pub carries: Carries,
    /// Subjects it stores.
    pub subjects: &'static [&'static str],
    /// Most bytes it holds; the oldest messages go first.
    pub max_bytes: i64,
    /// Oldest message it holds.
    pub max_age: Duration,
    /// Time for which the server remembers message ids.
    pub duplicate_window: Duration,
    /// Messages that central's consumer may hold unacknowledged; a batch takes at most half of them.
    pub max_ack_pending: i64,
}

/// Every stream, in the order in which they are created.
pub const STREAMS: [StreamSettings; 3] = [
    StreamSettings {
        name: "MARKET_DATA",
        carries: Carries::Events,
        subjects: &[
            "trade.>",
            "funding_rate.>",
            "open_interest.>",
            "liquidation.>",
            "lsr_top_position.>",
            "lsr_all_account.>",
            "volatility_index.>",
        ],
        max_bytes: 2048 * MIB,
        max_age: HOUR.saturating_mul(48),
        duplicate_window: Duration::from_secs(120),
        max_ack_pending: 100_000,
    },
    StreamSettings {
        name: "ORDERBOOK_SNAP",
        carries: Carries::Events,
        subjects: &["orderbook.>", "orderbook_delta.>", "quote.>"],
        max_bytes: 5120 * MIB,
        max_age: HOUR.saturating_mul(24),
        duplicate_window: Duration::from_secs(60),
        max_ack_pending: 20_000,
    },
    StreamSettings {
        name: "AUDIT",
        carries: Carries::Audits,
        subjects: &["audit.>"],
        max_bytes: 256 * MIB,
        max_age: HOUR.saturating_mul(7 * 24),
        duplicate_window: Duration::from_secs(120),
        max_ack_pending: 1_000,
    },
];

/// Name of the stream that stores a data type.
pub const fn stream_of(data_type: DataType) -> &'static str {
    match data_type.subscribed() {
        DataType::OrderBook => "ORDERBOOK_SNAP",
        _ => "MARKET_DATA",
    }
}
