//! What happened to a book since it was made.

use crate::outcome::ResyncReason;

/// Counters of one book. Nothing that an update brings is discarded without being counted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookStats {
    /// Updates applied to the LIVE book.
    pub applied: u64,
    /// Deltas that the book already held.
    pub outdated: u64,
    /// Deltas that only say that nothing changed.
    pub heartbeats: u64,
    /// Times that the venue's numbering went on with smaller ids.
    pub sequence_resets: u64,
    /// Deltas put into the buffer.
    pub buffered: u64,
    /// Deltas dropped from the full buffer.
    pub dropped: u64,
    /// Buffered deltas thrown away because the caller restarted the book or an in-band snapshot replaced
    /// them.
    pub discarded: u64,
    /// Updates that could not be applied.
    pub rejected: u64,
    /// Snapshots used.
    pub snapshots: u64,
    /// Snapshots that were older than the book.
    pub snapshots_ignored: u64,
    /// Holes in the sequence.
    pub gaps: u64,
    /// Checksums that the book matched.
    pub checksums_verified: u64,
    /// Checksums that the book did not match.
    pub checksum_mismatches: u64,
    /// LIVE books that an unasked snapshot replaced without continuing them. The epoch rises.
    pub replaced: u64,
    /// Times that the book became crossed.
    pub crossed: u64,
    /// Snapshots asked for to extend a LIVE book.
    pub refreshes: u64,
    /// Snapshots that contradicted the LIVE book that they were to extend. The book is replaced under a new
    /// epoch.
    pub refresh_mismatches: u64,
    /// Resyncs, at the position [`ResyncReason::index`].
    resyncs: [u64; ResyncReason::ALL.len()],
    /// LIVE books thrown away, in the same order.
    breaks: [u64; ResyncReason::ALL.len()],
}

impl BookStats {
    /// Resyncs for one reason.
    #[must_use]
    pub fn resyncs(&self, reason: ResyncReason) -> u64 {
        self.resyncs.get(reason.index()).copied().unwrap_or_default()
    }

    /// Times that a LIVE book was thrown away for one reason: from there to the next LIVE state nothing of it is published.
    #[must_use]
    pub fn breaks(&self, reason: ResyncReason) -> u64 {
        self.breaks.get(reason.index()).copied().unwrap_or_default()
    }

    pub(crate) fn count_break(&mut self, reason: ResyncReason) {
        if let Some(count) = self.breaks.get_mut(reason.index()) {
            *count += 1;
        }
    }

    pub(crate) fn count_resync(&mut self, reason: ResyncReason) {
        if let Some(count) = self.resyncs.get_mut(reason.index()) {
            *count += 1;
        }
    }
}
