//! What every journal offers. A journal in memory stands behind it, and one on disk can take its place.

use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::Subject;
use bytes::Bytes;
use marketprism_schema::{DataType, EventId, WireForm};
use tokio::sync::Notify;

use crate::audit::{PublishOutcome, RecordOutcome};

/// One event on its way to the broker.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it is published.
    pub subject: Subject,
    /// The id that lets the broker and the tables tell a copy.
    pub event_id: EventId,
    /// What it is: order books may be conflated, the rest may not.
    pub data_type: DataType,
    /// How the payload is encoded.
    pub form: WireForm,
    /// Row of the coverage table that an acknowledgement refreshes.
    pub coverage: u16,
    /// Number of its stream in the audits.
    pub stream: u32,
    /// Its sequence at the venue: a trade id that is a number, a book's update id.
    pub sequence: Option<i64>,
    /// When the frame was received, nanoseconds since 1970.
    pub received_at_ns: i64,
    /// The venue's time, microseconds since 1970.
    pub timestamp_us: i64,
    /// The encoded event.
    pub payload: Bytes,
}

impl Record {
    /// Bytes that count against the bounds: payload, subject and bookkeeping.
    #[must_use]
    pub fn size(&self) -> usize {
        const BOOKKEEPING: usize = 160;
        self.payload.len().saturating_add(self.subject.len()).saturating_add(BOOKKEEPING)
    }

    /// What became of it, for the audits.
    #[must_use]
    pub const fn settled(&self, settlement: PublishOutcome) -> RecordOutcome {
        RecordOutcome {
            stream: self.stream,
            received_at_ns: self.received_at_ns,
            timestamp_us: self.timestamp_us,
            event_id: self.event_id,
            sequence: self.sequence,
            settlement,
        }
    }
}

/// A record's place in the journal; rises with each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// A record that was read and is to be confirmed.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place.
    pub position: Position,
    /// The record.
    pub record: Record,
}

/// What happened to records when others were appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendResult {
    /// Order-book states that a newer one of the same book replaced. Nothing is lost: the newest is there.
    pub conflated: u64,
    /// Records lost because there was no room.
    pub dropped: u64,
}

/// Counts and bounds, for metrics and health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStatus {
    /// Records that wait or are not confirmed.
    pub messages: u64,
    /// Their size.
    pub bytes: u64,
    /// Records that nobody has read yet.
    pub unread: u64,
    /// Records appended since the start.
    pub appended: u64,
    /// Records confirmed since the start.
    pub confirmed: u64,
    /// See [`AppendResult::conflated`].
    pub conflated: u64,
    /// Records lost for want of room, by data type in the order of [`DataType::ALL`].
    pub dropped: [u64; 8],
    /// Times that a pipeline waited for room.
    pub waits: u64,
}

/// Why a journal refuses.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It was closed for the shutdown.
    #[error("the journal is closed")]
    Closed,
}

/// A bounded queue of events. Nothing is freed before it is confirmed.
pub trait EventQueue: Send + Sync {
    /// Takes all of `records`, in order. May block for a bounded time when the journal is full; called from a pipeline's own thread.
    fn append(&self, records: &mut Vec<Record>) -> Result<AppendResult, QueueError>;

    /// Copies the next unread records to `out`: at most `messages_max`, and at most `bytes_max` in size but at least one.
    fn read_next(&self, messages_max: usize, bytes_max: usize, out: &mut Vec<Entry>);

    /// Frees records that are safe elsewhere (or counted as lost). Order does not matter; unknown positions are passed over.
    fn confirm(&self, positions: &[Position]);

    /// A time, nanoseconds since 1970, at or before the receive time of every record that waits or is in flight. None: there is none.
    fn oldest_pending_ns(&self) -> Option<i64>;

    /// Told whenever there may be something to read.
    fn readable(&self) -> &Notify;

    /// Counts and bounds.
    fn status(&self) -> QueueStatus;
}

/// Takes everything and keeps nothing: for recording, where the raw frames are what is kept.
#[derive(Debug, Default)]
pub struct DiscardQueue {
    appended: AtomicU64,
    readable: Notify,
}

impl EventQueue for DiscardQueue {
    fn append(&self, records: &mut Vec<Record>) -> Result<AppendResult, QueueError> {
        self.appended.fetch_add(u64::try_from(records.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        records.clear();
        Ok(AppendResult::default())
    }

    fn read_next(&self, _messages_max: usize, _bytes_max: usize, _out: &mut Vec<Entry>) {}

    fn confirm(&self, _positions: &[Position]) {}

    fn oldest_pending_ns(&self) -> Option<i64> {
        None
    }

    fn readable(&self) -> &Notify {
        &self.readable
    }

    fn status(&self) -> QueueStatus {
        let appended = self.appended.load(Ordering::Relaxed);
        QueueStatus { appended, confirmed: appended, ..QueueStatus::default() }
    }
}
