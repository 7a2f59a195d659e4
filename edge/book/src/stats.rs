//! Counters of one book. Every discarded update is counted here.

use enum_map::EnumMap;

use crate::outcome::ResyncReason;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookStats {
    pub applied: u64,
    /// Deltas that the book already contained.
    pub outdated: u64,
    pub heartbeats: u64,
    /// Restarts of the venue's numbering with smaller ids.
    pub sequence_resets: u64,
    pub buffered: u64,
    /// Dropped from the full buffer.
    pub dropped: u64,
    /// Buffered deltas made obsolete by a restart or an in-band snapshot.
    pub discarded: u64,
    pub rejected: u64,
    pub snapshots: u64,
    /// Snapshots older than the book.
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
