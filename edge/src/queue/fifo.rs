//! The memory queue's data, without locks or waits.

use std::collections::{BTreeMap, VecDeque};

use async_nats::Subject;
use marketprism_schema::DataType;

use super::memory::QueueLimits;
use super::record::{AppendResult, EventRecord, QueueEntry, QueuePosition, QueueStatus};
use crate::audit::{PublishOutcome, RecordOutcome};

/// Records in order. A confirmed or dropped record leaves an empty slot until all slots before it are empty too.
#[derive(Debug)]
pub(super) struct Fifo {
    limits: QueueLimits,
    slots: VecDeque<Option<EventRecord>>,
    first: u64,
    unread: u64,
    /// Position of each book's newest unread state.
    books: BTreeMap<Subject, u64>,
    pending: PendingSeconds,
    /// Outcomes of records that were dropped or conflated since the last call of `take_lost`.
    lost: Vec<RecordOutcome>,
    pub(super) status: QueueStatus,
}

impl Fifo {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            slots: VecDeque::new(),
            first: 0,
            unread: 0,
            books: BTreeMap::new(),
            pending: PendingSeconds::default(),
            lost: Vec::new(),
            status: QueueStatus::default(),
        }
    }

    pub(super) fn has_room(&self, messages: u64, bytes: u64) -> bool {
        self.status.messages.saturating_add(messages) <= self.limits.messages
            && self.status.bytes.saturating_add(bytes) <= self.limits.bytes
    }

    /// Past half of a bound, only the newest state of each book is kept, so that trades have the rest.
    fn is_behind(&self) -> bool {
        self.status.messages > self.limits.messages / 2 || self.status.bytes > self.limits.bytes / 2
    }

    pub(super) fn append(&mut self, record: EventRecord) -> AppendResult {
        let mut result = AppendResult::default();
        self.status.appended += 1;
        let is_book = record.data_type == DataType::OrderBook;
        if is_book && self.is_behind() && self.replace_book(&record) {
            result.conflated = 1;
            self.status.conflated += 1;
        } else {
            let position = self.end();
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
            result.dropped += 1;
        }
        result
    }

    /// Replaces a book's older unread state in its place: at the end of the queue it would be replaced again and again.
    fn replace_book(&mut self, record: &EventRecord) -> bool {
        let Some(position) = self.books.get(&record.subject).copied() else { return false };
        let Some(Some(old)) = self.slot(position) else { return false };
        let old = std::mem::replace(old, record.clone());
        self.pending.remove(old.received_at_ns);
        self.pending.add(record.received_at_ns);
        self.lost.push(old.with_outcome(PublishOutcome::Conflated));
        self.status.bytes = self.status.bytes.saturating_sub(count(old.size())) + count(record.size());
        true
    }

    /// Drops the oldest record that is not in flight. False when there is none.
    fn drop_oldest(&mut self) -> bool {
        while self.unread < self.end() {
            let position = self.unread;
            self.unread += 1;
            if let Some(record) = self.slot(position).and_then(Option::take) {
                self.forget_book(&record, position);
                self.free(&record);
                self.lost.push(record.with_outcome(PublishOutcome::Dropped));
                self.status.unread = self.status.unread.saturating_sub(1);
                self.status.dropped[record.data_type] += 1;
                self.trim();
                return true;
            }
        }
        false
    }

    pub(super) fn read_next(&mut self, messages_max: usize, bytes_max: usize, out: &mut Vec<QueueEntry>) {
        let (mut messages, mut bytes) = (0_usize, 0_usize);
        while messages < messages_max && self.unread < self.end() {
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
            out.push(QueueEntry { position: QueuePosition(position), record });
        }
    }

    pub(super) fn confirm(&mut self, positions: &[QueuePosition]) {
        for position in positions {
            if let Some(record) = self.slot(position.0).and_then(Option::take) {
                self.free(&record);
                self.status.confirmed += 1;
            }
        }
        self.trim();
    }

    pub(super) fn take_lost(&mut self) -> Vec<RecordOutcome> {
        std::mem::take(&mut self.lost)
    }

    pub(super) fn oldest_pending_ns(&self) -> Option<i64> {
        self.pending.oldest_ns()
    }

    fn end(&self) -> u64 {
        self.first + count(self.slots.len())
    }

    fn slot(&mut self, position: u64) -> Option<&mut Option<EventRecord>> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index)
    }

    fn forget_book(&mut self, record: &EventRecord, position: u64) {
        if record.data_type == DataType::OrderBook && self.books.get(&record.subject) == Some(&position) {
            self.books.remove(&record.subject);
        }
    }

    fn free(&mut self, record: &EventRecord) {
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

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Nearly all records belong to the newest second, which is kept apart: counting them costs a comparison.
#[derive(Debug, Default)]
pub(super) struct PendingSeconds {
    newest: i64,
    in_newest: u64,
    older: BTreeMap<i64, u64>,
}

impl PendingSeconds {
    pub(super) fn add(&mut self, at_ns: i64) {
        let second = at_ns.div_euclid(NANOS_PER_SECOND);
        if second > self.newest {
            if self.in_newest > 0 {
                self.older.insert(self.newest, self.in_newest);
            }
            (self.newest, self.in_newest) = (second, 0);
        }
        if second == self.newest {
            self.in_newest += 1;
        } else {
            *self.older.entry(second).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, at_ns: i64) {
        let second = at_ns.div_euclid(NANOS_PER_SECOND);
        if second == self.newest {
            self.in_newest = self.in_newest.saturating_sub(1);
        } else if let Some(count) = self.older.get_mut(&second) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.older.remove(&second);
            }
        }
    }

    pub(super) fn oldest_ns(&self) -> Option<i64> {
        let newest = (self.in_newest > 0).then_some(self.newest);
        let oldest = self.older.keys().next().copied().or(newest)?;
        Some(oldest.saturating_mul(NANOS_PER_SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_second_is_that_of_the_oldest_record_in_whatever_order_records_come_and_go() {
        let mut pending = PendingSeconds::default();
        let mut model: Vec<i64> = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at_ns = i64::try_from(seed >> 33).unwrap() * 5;
            if !seed.is_multiple_of(3) || model.is_empty() {
                pending.add(at_ns);
                model.push(at_ns);
            } else {
                let gone = model.swap_remove(usize::try_from(seed >> 40).unwrap() % model.len());
                pending.remove(gone);
            }
            let oldest = model.iter().min().map(|at| at / NANOS_PER_SECOND * NANOS_PER_SECOND);
            assert_eq!(pending.oldest_ns(), oldest);
        }
    }
}
