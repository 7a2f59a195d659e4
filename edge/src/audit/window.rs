//! One window of receive time: the tallies of its streams and feeds.

use marketprism_schema::{FeedAudit, Gap, GapKind};

use super::open_gap::{OpenGap, TradeIdGap};
use super::tally::{RecordOutcome, StreamTally};

/// Trouble of a feed that no stream can be named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedCounts {
    /// Frames that could not be read.
    pub malformed: u64,
    /// Connections that were lost.
    pub reconnects: u64,
    /// Frames that made the adapter fault.
    pub adapter_faults: u64,
}

/// Something that a feed's pipeline noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapEvent {
    /// The holes of a stream that are open now.
    Holes(u32, Vec<TradeIdGap>),
    /// Something is missing of a stream; the gap's `to` tells the window.
    Gap(u32, Gap),
    /// From here on a stream brings nothing.
    Down(u32, OpenGap),
    /// It does again, since this time in nanoseconds.
    Up(u32, GapKind, i64),
    /// States of a book that newer ones replaced, at this time.
    Conflated(u32, i64, u64),
    /// Frames of a stream that could not be read, at this time.
    Malformed(u32, i64, u64),
    /// Trouble of the feed, at this time.
    Counts(i64, FeedCounts),
}

/// The tallies of one window.
#[derive(Debug, Default)]
pub(super) struct WindowTally {
    cells: Vec<StreamTally>,
    feeds: Vec<FeedCounts>,
}

impl WindowTally {
    /// Counts records of this window.
    pub(super) fn settle(&mut self, settled: &[RecordOutcome]) {
        for one in settled {
            if let Some(cell) = self.cell(one.stream) {
                cell.settle(one);
            }
        }
    }

    /// The tally of a stream, made where it is not there yet.
    pub(super) fn cell(&mut self, stream: u32) -> Option<&mut StreamTally> {
        let index = usize::try_from(stream).ok()?;
        if index >= self.cells.len() {
            if stream == super::NO_STREAM {
                return None;
            }
            self.cells.resize_with(index + 1, StreamTally::default);
        }
        self.cells.get_mut(index)
    }

    /// Takes the tally of a stream out.
    pub(super) fn take(&mut self, stream: u32) -> StreamTally {
        let cell = usize::try_from(stream).ok().and_then(|index| self.cells.get_mut(index));
        cell.map(std::mem::take).unwrap_or_default()
    }

    /// Counts trouble of a feed.
    pub(super) fn count(&mut self, feed: usize, counts: FeedCounts) {
        if feed >= self.feeds.len() {
            self.feeds.resize_with(feed + 1, FeedCounts::default);
        }
        if let Some(sum) = self.feeds.get_mut(feed) {
            sum.malformed += counts.malformed;
            sum.reconnects += counts.reconnects;
            sum.adapter_faults += counts.adapter_faults;
        }
    }

    /// The audit of a feed.
    pub(super) fn feed(&self, feed: usize, exchange: &str, not_running: Option<&str>) -> FeedAudit {
        let counts = self.feeds.get(feed).copied().unwrap_or_default();
        FeedAudit {
            exchange: exchange.to_owned(),
            malformed: counts.malformed,
            reconnects: counts.reconnects,
            adapter_faults: counts.adapter_faults,
            not_running: not_running.map(str::to_owned),
        }
    }
}
