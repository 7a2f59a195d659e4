//! What an update did to a book, and what the caller must do.

use crate::update::UpdateError;

/// The state of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No starting state: deltas are buffered.
    WaitSnapshot,
    /// The starting state is there; the first delta that bridges to it is awaited.
    Syncing,
    /// Every update is in: the book may be published.
    Live,
}

/// How a gap showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// The venue's sequence has a hole.
    Sequence,
    /// The book is not the one that the venue's checksum was made of.
    Checksum,
}

impl GapCause {
    /// A label for logs, metrics and pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GapCause::Sequence => "sequence",
            GapCause::Checksum => "checksum",
        }
    }
}

/// Proof that something of a LIVE book is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How it showed.
    pub cause: GapCause,
    /// `Contiguous`: the first id that should have come. `Chained`: the previous id that should have been
    /// named. Checksum: the venue's.
    pub expected: i64,
    /// What came in its place. Checksum: that of our book.
    pub got: i64,
    /// Receive time of the update that showed it, nanoseconds since 1970 UTC.
    pub at_ns: i64,
}

/// Why a new starting state is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResyncReason {
    /// The book is new.
    Start,
    /// Updates are missing.
    Gap,
    /// The book differs from the venue's checksum.
    Checksum,
    /// The snapshot ended before the first delta at hand began.
    StaleSnapshot,
    /// Deltas were dropped from the full buffer, and the snapshot does not make up for them.
    BufferOverflow,
    /// The best bid was not below the best ask for too long.
    Crossed,
    /// An update could not be applied.
    InvalidUpdate,
    /// The caller asked: the connection was replaced, or the stream says so.
    Restart,
}

impl ResyncReason {
    /// Every reason, in the order of [`ResyncReason::index`].
    pub const ALL: [ResyncReason; 8] = [
        ResyncReason::Start,
        ResyncReason::Gap,
        ResyncReason::Checksum,
        ResyncReason::StaleSnapshot,
        ResyncReason::BufferOverflow,
        ResyncReason::Crossed,
        ResyncReason::InvalidUpdate,
        ResyncReason::Restart,
    ];

    /// Position in [`ResyncReason::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// A label for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ResyncReason::Start => "start",
            ResyncReason::Gap => "gap",
            ResyncReason::Checksum => "checksum",
            ResyncReason::StaleSnapshot => "stale_snapshot",
            ResyncReason::BufferOverflow => "buffer_overflow",
            ResyncReason::Crossed => "crossed",
            ResyncReason::InvalidUpdate => "invalid_update",
            ResyncReason::Restart => "restart",
        }
    }
}

/// What the caller must do. Both kinds are done by the adapter's resync action, paced by
/// [`crate::ResyncBackoff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The book has no valid state: get a new starting state.
    Resync {
        /// Why.
        reason: ResyncReason,
    },
    /// The book stays LIVE, but soon knows fewer levels than the depth: get a snapshot to extend it. It is
    /// merged without an interruption and without a new epoch.
    Refresh,
}

/// The result of applying one update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Updates that changed the LIVE book, buffered ones that a snapshot released included.
    pub applied: u32,
    /// What to do now.
    pub action: Option<Action>,
    /// Proof of something missing that this update gave.
    pub gap: Option<Gap>,
    /// Why the update (or a buffered one) was refused.
    pub rejected: Option<UpdateError>,
}
