//! The queue of the memory journal, without locks or waits.

use std::collections::{BTreeMap, VecDeque};

use async_nats::Subject;
use marketprism_schema::DataType;

use super::memory::QueueLimits;
use super::pending::Pending;
use super::record::{AppendResult, Entry, Position, QueueStatus, Record};
use crate::audit::{PublishOutcome, RecordOutcome};

/// Records in order. Confirmed and dropped ones leave a hole until everything before them is gone too.
#[derive(Debug)]
pub(super) struct Queue {
    limits: QueueLimits,
    slots: VecDeque<Option<Record>>,
    /// Position of the first slot.
    first: u64,
    /// Position of the next record to read.
    unread: u64,
    /// The newest unread state of each book.
    books: BTreeMap<Subject, u64>,
    pending: Pending,
    /// Records that were lost or replaced since they were last asked for.
    gone: Vec<RecordOutcome>,
    pub(super) status: QueueStatus,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            slots: VecDeque::new(),
            first: 0,
            unread: 0,
            books: BTreeMap::new(),
            pending: Pending::default(),
            gone: Vec::new(),
            status: QueueStatus::default(),
        }
    }

    /// Whether records of this number and size fit without a loss.
    pub(super) fn has_room(&self, messages: u64, bytes: u64) -> bool {
        self.status.messages.saturating_add(messages) <= self.limits.messages
            && self.status.bytes.saturating_add(bytes) <= self.limits.bytes
    }

    /// Past half of a bound, books are kept as their newest state only, so that trades have the rest.
    fn is_behind(&self) -> bool {
        self.status.messages > self.limits.messages / 2 || self.status.bytes > self.limits.bytes / 2
    }

    pub(super) fn append(&mut self, record: Record) -> AppendResult {
        let mut outcome = AppendResult::default();
        self.status.appended += 1;
        let is_book = record.data_type == DataType::OrderBook;
        if is_book && self.is_behind() && self.replace_book(&record) {
            outcome.conflated = 1;
            self.status.conflated += 1;
        } else {
            let position = self.first + count(self.slots.len());
            if is_book {
                self.books.insert(record.subject.clone(), position);
            }
            self.status.messages += 1;
            self.status.unread += 1;
            self.status.bytes += count(record.size());
            self.pending.add(record.received_at_ns);
            self.slots.push_back(Some(record));
        }
        while !self.has_room(0, 0) && self.drop_oldest() {
            outcome.dropped += 1;
        }
        outcome
    }

    /// Puts a book's newest state where its older unread one stood: at the end of the queue it would be overtaken for ever.
    fn replace_book(&mut self, record: &Record) -> bool {
        let Some(position) = self.books.get(&record.subject).copied() else { return false };
        let Some(Some(old)) = self.slot(position) else { return false };
        let old_size = count(old.size());
        let old = std::mem::replace(old, record.clone());
        self.pending.remove(old.received_at_ns);
        self.pending.add(record.received_at_ns);
        self.gone.push(old.settled(PublishOutcome::Conflated));
        self.status.bytes = self.status.bytes.saturating_sub(old_size) + count(record.size());
        true
    }

    /// Loses the oldest record that is not in flight. False when there is none.
    fn drop_oldest(&mut self) -> bool {
        while self.unread < self.first + count(self.slots.len()) {
            let position = self.unread;
            self.unread += 1;
            if let Some(record) = self.slot(position).and_then(Option::take) {
                self.forget_book(&record, position);
                self.freed(&record);
                self.gone.push(record.settled(PublishOutcome::Dropped));
                self.status.unread = self.status.unread.saturating_sub(1);
                let kind = DataType::ALL.iter().position(|kind| *kind == record.data_type);
                if let Some(dropped) = kind.and_then(|kind| self.status.dropped.get_mut(kind)) {
                    *dropped += 1;
                }
                self.trim();
                return true;
            }
        }
        false
    }

    pub(super) fn read_next(&mut self, messages_max: usize, bytes_max: usize, out: &mut Vec<Entry>) {
        let (mut messages, mut bytes) = (0_usize, 0_usize);
        while messages < messages_max && self.unread < self.first + count(self.slots.len()) {
            let position = self.unread;
            let Some(Some(record)) = self.slot(position) else {
                self.unread += 1;
                continue;
            };
            bytes = bytes.saturating_add(record.size());
            if bytes > bytes_max && messages > 0 {
                break;
            }
            let record = record.clone();
            self.forget_book(&record, position);
            self.unread += 1;
            self.status.unread = self.status.unread.saturating_sub(1);
            messages += 1;
            out.push(Entry { position: Position(position), record });
        }
    }

    pub(super) fn confirm(&mut self, positions: &[Position]) {
        for position in positions {
            if let Some(record) = self.slot(position.0).and_then(Option::take) {
                self.freed(&record);
                self.status.confirmed += 1;
            }
        }
        self.trim();
    }

    /// Takes what was lost or replaced; never more than the appended batch held.
    pub(super) fn take_gone(&mut self) -> Vec<RecordOutcome> {
        std::mem::take(&mut self.gone)
    }

    pub(super) fn oldest_pending_ns(&self) -> Option<i64> {
        self.pending.oldest_ns()
    }

    fn slot(&mut self, position: u64) -> Option<&mut Option<Record>> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index)
    }

    fn forget_book(&mut self, record: &Record, position: u64) {
        if record.data_type == DataType::OrderBook && self.books.get(&record.subject) == Some(&position) {
            self.books.remove(&record.subject);
        }
    }

    fn freed(&mut self, record: &Record) {
        self.pending.remove(record.received_at_ns);
        self.status.messages = self.status.messages.saturating_sub(1);
        self.status.bytes = self.status.bytes.saturating_sub(count(record.size()));
    }

    fn trim(&mut self) {
        while self.first < self.unread && matches!(self.slots.front(), Some(None)) {
            self.slots.pop_front();
            self.first += 1;
        }
    }
}

pub(super) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
