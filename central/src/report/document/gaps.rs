//! Gaps and losses, with their causes.

use serde::Serialize;
use utoipa::ToSchema;

use crate::report::Time;

/// A gap that an edge detected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Gap)]
pub struct ReportedGap {
    /// Stream: `data_type.exchange.market_type.symbol`.
    pub stream: String,
    pub edge: String,
    /// Begin of the audit window that reported it.
    pub window_start: Time,
    /// Detected by: `trade_ids`, `book_sequence`, `book_checksum`, `connection`, `dropped`, `refused`, `adapter_fault`;
    /// `start` and `stop`: before a run's first and after its last frame.
    pub kind: String,
    /// `venue`, `network`, `ours` (a part of MarketPrism) or `retention`.
    pub cause: String,
    /// Missing events; null when unknown.
    pub missing: Option<u64>,
    /// Last sequence before the gap.
    pub from_sequence: Option<i64>,
    /// First sequence after the gap.
    pub to_sequence: Option<i64>,
    /// Begin of the gap.
    pub from: Option<Time>,
    /// End of the gap.
    pub to: Option<Time>,
    /// Observation of the edge, as text.
    pub evidence: String,
}

/// Messages that the broker discarded before they were stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Loss)]
pub struct LostMessages {
    /// Stream of the broker.
    pub stream: String,
    /// First lost sequence.
    pub from_seq: u64,
    /// Last lost sequence.
    pub to_seq: u64,
    /// Number of messages.
    pub messages: u64,
    /// `retention` or `ours`.
    pub cause: String,
    /// Observation of central, as text.
    pub evidence: String,
    /// Time of detection.
    pub seen_at: Time,
}
