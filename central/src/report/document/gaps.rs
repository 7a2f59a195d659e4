//! What is missing, and why.

use serde::Serialize;
use utoipa::ToSchema;

use crate::report::Time;

/// A gap that an edge saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Gap {
    /// The stream.
    pub stream: String,
    /// The edge.
    pub edge: String,
    /// Begin of the window that it was reported with.
    pub window_start: Time,
    /// What tells it: `trade_ids`, `book_sequence`, `book_checksum`, `connection`, `dropped`, `refused`, `adapter_fault`,
    /// and what an edge did not hear before its first and after its last frame: `start`, `stop`.
    pub kind: String,
    /// Whose fault: `venue`, `network`, `ours`, `retention`.
    pub cause: String,
    /// Events missing, where that is known.
    pub missing: Option<u64>,
    /// Last sequence before it.
    pub from_sequence: Option<i64>,
    /// First sequence after it.
    pub to_sequence: Option<i64>,
    /// When it began.
    pub from: Option<Time>,
    /// When it ended.
    pub to: Option<Time>,
    /// What the edge saw, in its words.
    pub evidence: String,
}

/// Messages that the broker no longer had when they were to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Loss {
    /// The broker's stream.
    pub stream: String,
    /// First sequence.
    pub from_seq: u64,
    /// Last sequence.
    pub to_seq: u64,
    /// How many messages.
    pub messages: u64,
    /// `retention` or `ours`.
    pub cause: String,
    /// What was seen.
    pub evidence: String,
    /// When.
    pub seen_at: Time,
}
