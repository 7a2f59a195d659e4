//! One window of receive time: tallies of streams, counts of feeds.

use marketprism_schema::{FeedAudit, Gap, GapKind};

use super::streams::{AuditFeed, AuditStream, AuditedFeed};
use super::tally::{RecordOutcome, StreamTally};

/// Problems of a feed that no single stream can be named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedCounts {
    /// Frames that the adapter could not read.
    pub malformed: u64,
    /// Lost connections.
    pub reconnects: u64,
    /// Frames that made the adapter fault.
    pub adapter_faults: u64,
}

/// An observation of a feed's pipeline. Times are nanoseconds of receive time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapEvent {
    /// All gaps in the trade ids of a stream that are open now.
    TradeIds(AuditStream, Vec<Gap>),
    /// A gap that has ended; it belongs to the window of its end.
    Ended(AuditStream, Gap),
    /// A gap began and lasts.
    Began(AuditStream, Gap),
    /// The open gap of this kind ended at this time.
    Recovered(AuditStream, GapKind, i64),
    /// Number of states of a book that newer ones replaced.
    Conflated(AuditStream, i64, u64),
    /// A malformed frame.
    Malformed(AuditStream, i64),
    Counts(i64, FeedCounts),
}

#[derive(Debug, Default)]
pub(super) struct WindowTally {
    streams: Vec<StreamTally>,
    feeds: Vec<FeedCounts>,
}

impl WindowTally {
    pub(super) fn record(&mut self, records: &[RecordOutcome]) {
        for record in records {
            if let Some(tally) = record.stream.and_then(|stream| self.stream(stream)) {
                tally.record(record);
            }
        }
    }

    pub(super) fn stream(&mut self, stream: AuditStream) -> Option<&mut StreamTally> {
        let index = stream.position();
        if index >= self.streams.len() {
            self.streams.resize_with(index + 1, StreamTally::default);
        }
        self.streams.get_mut(index)
    }

    pub(super) fn take(&mut self, stream: AuditStream) -> StreamTally {
        self.streams.get_mut(stream.position()).map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn count(&mut self, AuditFeed(feed): AuditFeed, counts: FeedCounts) {
        if feed >= self.feeds.len() {
            self.feeds.resize_with(feed + 1, FeedCounts::default);
        }
        if let Some(sum) = self.feeds.get_mut(feed) {
            sum.malformed += counts.malformed;
            sum.reconnects += counts.reconnects;
            sum.adapter_faults += counts.adapter_faults;
        }
    }

    pub(super) fn feed(&self, number: usize, feed: &AuditedFeed) -> FeedAudit {
        let counts = self.feeds.get(number).copied().unwrap_or_default();
        FeedAudit {
            exchange: feed.exchange.clone(),
            malformed: counts.malformed,
            reconnects: counts.reconnects,
            adapter_faults: counts.adapter_faults,
            not_running: feed.not_running.clone(),
        }
    }
}
