//! States of a book, the outcome of an update, and the counters. Every discarded update is counted.

use enum_map::{Enum, EnumMap};

use crate::update::UpdateError;

/// States of a book, described in the crate documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookState {
    WaitSnapshot,
    Syncing,
    Live,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BookGapCause {
    Sequence,
    Checksum,
}

impl BookGapCause {
    pub fn as_str(self) -> &'static str {
        match self {
            BookGapCause::Sequence => "sequence",
            BookGapCause::Checksum => "checksum",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookGap {
    pub cause: BookGapCause,
    /// `Contiguous`: the first missing id. `Chained`: the predecessor that should have been named.
    /// Checksum: the venue's.
    pub expected: i64,
    /// The id received instead. Checksum: the book's.
    pub got: i64,
    /// Receive time of the update that showed it, nanoseconds since 1970 UTC.
    pub at_ns: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum)]
pub enum ResyncReason {
    Start,
    Gap,
    Checksum,
    /// The snapshot ended before the first buffered delta began.
    StaleSnapshot,
    /// Deltas were dropped from the full buffer, and the snapshot does not cover them.
    BufferOverflow,
    Crossed,
    /// No level of a side is known any more, while the venue may have deeper ones.
    Exhausted,
    InvalidUpdate,
    /// Requested by the caller: the connection was replaced, or the stream demands it.
    Restart,
}

impl ResyncReason {
    pub fn as_str(self) -> &'static str {
        match self {
            ResyncReason::Start => "start",
            ResyncReason::Gap => "gap",
            ResyncReason::Checksum => "checksum",
            ResyncReason::StaleSnapshot => "stale_snapshot",
            ResyncReason::BufferOverflow => "buffer_overflow",
            ResyncReason::Crossed => "crossed",
            ResyncReason::Exhausted => "exhausted",
            ResyncReason::InvalidUpdate => "invalid_update",
            ResyncReason::Restart => "restart",
        }
    }
}

/// Request that the caller must send: the adapter's resync action, paced by [`crate::ResyncBackoff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookAction {
    /// The book has no valid state.
    Resync { reason: ResyncReason },
    /// The book stays LIVE but soon knows fewer levels than its depth. The snapshot is merged without
    /// interruption and without a new epoch.
    Refresh,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateOutcome {
    /// Updates that changed the LIVE book, including buffered ones that a snapshot released.
    pub applied: u32,
    pub action: Option<BookAction>,
    pub gap: Option<BookGap>,
    /// Error of this update or of a buffered one.
    pub rejected: Option<UpdateError>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookStats {
    pub applied: u64,
    /// Deltas that the book already contained.
    pub outdated: u64,
    pub heartbeats: u64,
    /// Restarts of the venue's numbering with smaller ids.
    pub sequence_resets: u64,
    pub buffered: u64,
    pub dropped: u64,
    /// Buffered deltas made obsolete by a restart or an in-band snapshot.
    pub discarded: u64,
    pub rejected: u64,
    pub snapshots: u64,
    pub snapshots_ignored: u64,
    pub gaps: u64,
    pub checksums_verified: u64,
    pub checksum_mismatches: u64,
    /// LIVE books replaced by an unrequested snapshot that does not continue them; the epoch increments.
    pub replaced: u64,
    /// Times that the book became crossed.
    pub crossed: u64,
    /// Snapshots requested to extend a LIVE book.
    pub refreshes: u64,
    /// Such snapshots that contradicted the LIVE book; it is replaced under a new epoch.
    pub refresh_mismatches: u64,
    pub resyncs: EnumMap<ResyncReason, u64>,
    /// LIVE books discarded; nothing is published until the next LIVE state.
    pub breaks: EnumMap<ResyncReason, u64>,
}
