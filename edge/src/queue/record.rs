//! Records and the interface of their queue: bounded, and nothing is freed before it is confirmed.

use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::Subject;
use bytes::Bytes;
use marketprism_schema::{DataType, DataTypeMap, EventId, WireForm};
use tokio::sync::Notify;

use crate::audit::{AuditStream, PublishOutcome, RecordOutcome};
use crate::telemetry::CoverageIndex;

#[derive(Debug, Clone)]
pub struct EventRecord {
    pub subject: Subject,
    pub event_id: EventId,
    pub data_type: DataType,
    pub form: WireForm,
    /// The row that an acknowledgement refreshes.
    pub coverage: CoverageIndex,
    /// Its stream in the audits; `None` where nothing is audited.
    pub stream: Option<AuditStream>,
    /// The venue's sequence: a trade id that is a number, or a book's update id.
    pub sequence: Option<i64>,
    pub received_at_ns: i64,
    pub timestamp_us: i64,
    pub payload: Bytes,
    /// `None`: it is in memory only.
    pub journal: Option<JournalPosition>,
    /// The broker acknowledged an earlier copy, by whose message id it would drop this one.
    pub is_resend: bool,
}

impl EventRecord {
    /// Bytes that count against the queue's bounds.
    pub fn size(&self) -> usize {
        const BOOKKEEPING: usize = 160;
        self.payload.len().saturating_add(self.subject.len()).saturating_add(BOOKKEEPING)
    }

    pub const fn with_outcome(&self, outcome: PublishOutcome) -> RecordOutcome {
        RecordOutcome {
            stream: self.stream,
            received_at_ns: self.received_at_ns,
            timestamp_us: self.timestamp_us,
            event_id: self.event_id,
            sequence: self.sequence,
            outcome,
        }
    }
}

#[cfg(test)]
impl EventRecord {
    pub(crate) fn fixture(id: u64, data_type: DataType, symbol: &str) -> Self {
        Self {
            subject: format!("{data_type}.sim_spot.spot.{symbol}").into(),
            event_id: EventId(u128::from(id)),
            data_type,
            form: WireForm::Json,
            coverage: CoverageIndex::NONE,
            stream: None,
            sequence: None,
            received_at_ns: 0,
            timestamp_us: 0,
            payload: Bytes::from(id.to_string()),
            journal: None,
            is_resend: false,
        }
    }
}

/// Lane of a feed in the queue. Each has a fair share of its room and of the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueLane(usize);

impl QueueLane {
    /// By the feed's position in the configuration.
    pub const fn of_feed(index: usize) -> Self {
        Self(index)
    }

    pub(super) const fn position(self) -> usize {
        self.0
    }
}

/// Place of a record in the journal on disk; rises with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalPosition(pub u64);

/// A journaled record that the broker has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRecord {
    pub position: JournalPosition,
    /// Of its message in the stream.
    pub sequence: u64,
    /// Highest sequence of the stream that was acknowledged when the message was sent first: the broker gives greater ones unless it
    /// went back. 0 for the sequence of an earlier copy.
    pub sent_after: u64,
    pub outcome: PublishOutcome,
}

/// The journal on disk, as the queue uses it. No call waits for the disk.
pub trait EventJournal: Send + Sync {
    /// Sets the position of every record that the journal takes.
    fn append(&self, records: &mut [EventRecord]);

    /// The queue gives the record up: the journal gives it back for sending later. False: it does not have the record.
    fn spill(&self, position: JournalPosition) -> bool;

    /// The queue has these records again, which waited in the journal.
    fn queued(&self, records: &[EventRecord]);

    /// True while the journal has the record.
    fn holds(&self, position: JournalPosition) -> bool;

    fn stored(&self, records: &[StoredRecord]);

    /// Highest sequence acknowledged of the stream of each type.
    fn acknowledged(&self) -> DataTypeMap<u64>;

    /// These records will never be sent: conflated or rejected.
    fn settle(&self, positions: &[JournalPosition], outcome: PublishOutcome);

    /// A time at or before the receive time of every spilled record of this run.
    fn oldest_waiting_ns(&self) -> Option<i64>;
}

/// End of a record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    pub position: QueuePosition,
    /// Of its message in the stream; `None`: it is not stored and will not be.
    pub sequence: Option<u64>,
    /// Unless it is stored, the sequence is that of an earlier copy.
    pub outcome: PublishOutcome,
}

/// Identity of a record that was read; rises with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueuePosition(pub u64);

#[derive(Debug, Clone)]
pub struct QueueEntry {
    pub position: QueuePosition,
    pub record: EventRecord,
}

/// Effect of an append on records that were in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendResult {
    /// Order-book states and quotes replaced by a newer one of the same book.
    pub conflated: u64,
    /// Records lost because the queue was full.
    pub dropped: u64,
    /// Records that are on disk only from now on.
    pub spilled: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStatus {
    /// Records that are waiting or in flight.
    pub messages: u64,
    pub bytes: u64,
    /// Records that the publisher has not read.
    pub unread: u64,
    pub appended: u64,
    pub confirmed: u64,
    pub conflated: u64,
    pub dropped: DataTypeMap<u64>,
    /// Records that left memory for the journal on disk.
    pub spilled: u64,
    /// Records of the journal that are waiting or in flight again.
    pub catch_up: u64,
    /// Times that a pipeline waited for room.
    pub waits: u64,
}

pub trait EventQueue: Send + Sync {
    /// Takes all of `records`, in order. May block for a bounded time when the queue is full; called from a pipeline's own thread.
    fn append(&self, lane: QueueLane, records: &mut Vec<EventRecord>) -> AppendResult;

    /// Gives out the next unread records to `out`: at most `messages_max`, and at most `bytes_max` in size but at least one.
    fn read_next(&self, messages_max: usize, bytes_max: usize, out: &mut Vec<QueueEntry>);

    /// Frees records, in any order. Unknown positions are ignored.
    fn confirm(&self, confirmations: &[Confirmation]);

    /// A time at or before the receive time of every record that is waiting or in flight. `None`: there is no such record.
    fn oldest_pending_ns(&self) -> Option<i64>;

    /// Notified when there may be something to read.
    fn readable(&self) -> &Notify;

    fn status(&self) -> QueueStatus;
}

/// Accepts and drops everything: for `record`, which keeps the raw frames.
#[derive(Debug, Default)]
pub struct DiscardQueue {
    appended: AtomicU64,
    readable: Notify,
}

impl EventQueue for DiscardQueue {
    fn append(&self, _lane: QueueLane, records: &mut Vec<EventRecord>) -> AppendResult {
        self.appended.fetch_add(u64::try_from(records.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        records.clear();
        AppendResult::default()
    }

    fn read_next(&self, _messages_max: usize, _bytes_max: usize, _out: &mut Vec<QueueEntry>) {}

    fn confirm(&self, _confirmations: &[Confirmation]) {}

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
