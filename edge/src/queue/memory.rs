//! The journal in memory: a bounded queue that does not survive the process.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::fifo::{Queue, count};
use super::record::{AppendResult, Entry, EventQueue, Position, QueueError, QueueStatus, Record};
use crate::audit::Auditor;
use crate::limits::JOURNAL_ROOM_WAIT;

/// Bounds of the memory journal: records that wait or are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Most records.
    pub messages: u64,
    /// Most bytes, see [`Record::size`].
    pub bytes: u64,
}

/// A bounded queue in memory.
///
/// When it is full and records are still being confirmed, `append` waits, so that the network pushes back to the venue instead of losing
/// what only needs a moment. When nothing is confirmed for [`JOURNAL_ROOM_WAIT`] (an outage), the oldest records that are not in
/// flight are dropped and counted, without waiting again before a confirmation shows that the outage is over.
#[derive(Debug)]
pub struct MemoryQueue {
    state: Mutex<State>,
    freed: Condvar,
    readable: Notify,
    room_wait: Duration,
    /// Told of what is lost or replaced here.
    auditor: Arc<Auditor>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Nothing was confirmed during a whole wait: the broker is away.
    stalled: bool,
    closed: bool,
}

impl MemoryQueue {
    /// An empty journal.
    #[must_use]
    pub fn new(limits: QueueLimits, auditor: Arc<Auditor>) -> Self {
        Self::with_room_wait(limits, auditor, JOURNAL_ROOM_WAIT)
    }

    /// A journal in which `append` waits so long for room. For tests that fill it.
    #[must_use]
    pub fn with_room_wait(limits: QueueLimits, auditor: Arc<Auditor>, room_wait: Duration) -> Self {
        let state = State { queue: Queue::new(limits), stalled: false, closed: false };
        Self { state: Mutex::new(state), freed: Condvar::new(), readable: Notify::new(), room_wait, auditor }
    }

    /// Ends waits for room: what does not fit any more is dropped and counted.
    pub fn close(&self) {
        self.lock().closed = true;
        self.freed.notify_all();
        self.readable.notify_one();
    }

    /// A poisoned lock means that a thread died between two statements that keep the queue whole; the queue goes on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the audits what is gone while the lock is held: no window is closed between a loss and its count.
    fn tell_gone(&self, state: &mut State) {
        self.auditor.settle(&state.queue.take_gone());
    }

    fn wait_for_room<'a>(&'a self, mut state: MutexGuard<'a, State>, bytes: u64) -> MutexGuard<'a, State> {
        self.tell_gone(&mut state);
        state.queue.status.waits += 1;
        let mut confirmed = state.queue.status.confirmed;
        let mut deadline = Instant::now() + self.room_wait;
        while !state.queue.has_room(1, bytes) && !state.closed && !state.stalled {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.stalled = true;
                break;
            }
            (state, _) = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            if state.queue.status.confirmed != confirmed {
                confirmed = state.queue.status.confirmed;
                deadline = Instant::now() + self.room_wait;
            }
        }
        state
    }
}

impl EventQueue for MemoryQueue {
    fn append(&self, records: &mut Vec<Record>) -> Result<AppendResult, QueueError> {
        if records.is_empty() {
            return Ok(AppendResult::default());
        }
        let mut outcome = AppendResult::default();
        let mut state = self.lock();
        for record in records.drain(..) {
            let bytes = count(record.size());
            if !state.queue.has_room(1, bytes) && !state.stalled && !state.closed {
                self.readable.notify_one();
                state = self.wait_for_room(state, bytes);
            }
            let one = state.queue.append(record);
            outcome.conflated += one.conflated;
            outcome.dropped += one.dropped;
        }
        self.tell_gone(&mut state);
        drop(state);
        self.readable.notify_one();
        Ok(outcome)
    }

    fn read_next(&self, messages_max: usize, bytes_max: usize, out: &mut Vec<Entry>) {
        self.lock().queue.read_next(messages_max, bytes_max, out);
    }

    fn confirm(&self, positions: &[Position]) {
        if positions.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.queue.confirm(positions);
        state.stalled = false;
        drop(state);
        self.freed.notify_all();
    }

    fn oldest_pending_ns(&self) -> Option<i64> {
        self.lock().queue.oldest_pending_ns()
    }

    fn readable(&self) -> &Notify {
        &self.readable
    }

    fn status(&self) -> QueueStatus {
        self.lock().queue.status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::NO_STREAM;
    use bytes::Bytes;
    use marketprism_schema::{DataType, EventId, WireForm};

    fn record(id: u64, data_type: DataType, symbol: &str) -> Record {
        Record {
            subject: format!("{data_type}.sim_spot.spot.{symbol}").into(),
            event_id: EventId(u128::from(id)),
            data_type,
            form: WireForm::Json,
            coverage: 0,
            stream: NO_STREAM,
            sequence: None,
            received_at_ns: 0,
            timestamp_us: 0,
            payload: Bytes::from(format!("{id}")),
        }
    }

    fn trade(id: u64) -> Record {
        record(id, DataType::Trade, "A-B")
    }

    fn journal(messages: u64) -> MemoryQueue {
        MemoryQueue::with_room_wait(
            QueueLimits { messages, bytes: 1 << 20 },
            Arc::new(Auditor::off()),
            Duration::from_millis(1),
        )
    }

    fn read_ids(journal: &MemoryQueue, max: usize) -> Vec<u128> {
        let mut out = Vec::new();
        journal.read_next(max, usize::MAX, &mut out);
        out.iter().map(|entry| entry.record.event_id.0).collect()
    }

    /// Goal: records come out once, in order, and their room comes back only when they are confirmed, in any order.
    #[test]
    fn records_hold_their_room_until_confirmed() {
        let journal = journal(4);
        journal.append(&mut (0..4).map(trade).collect()).unwrap();
        let mut entries = Vec::new();
        journal.read_next(3, usize::MAX, &mut entries);
        assert_eq!(entries.iter().map(|e| e.position.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(journal.status().messages, 4);
        journal.confirm(&[Position(2), Position(0), Position(0), Position(99)]);
        assert_eq!((journal.status().messages, journal.status().confirmed), (2, 2));
        assert_eq!(journal.append(&mut vec![trade(4), trade(5)]).unwrap(), AppendResult::default());
        assert_eq!(read_ids(&journal, 10), [3, 4, 5]);
        journal.confirm(&[Position(1), Position(3), Position(4), Position(5)]);
        assert_eq!((journal.status().messages, journal.status().bytes), (0, 0));
    }

    /// Goal: overflow loses the oldest records that are not in flight, and counts them by data type.
    #[test]
    fn overflow_drops_the_oldest_unread_and_counts_it() {
        let journal = journal(4);
        journal.append(&mut (0..4).map(trade).collect()).unwrap();
        assert_eq!(read_ids(&journal, 2), [0, 1]);
        let outcome = journal.append(&mut vec![trade(4), trade(5), trade(6)]).unwrap();
        assert_eq!(outcome, AppendResult { conflated: 0, dropped: 3 });
        assert_eq!(journal.status().dropped[0], 3);
        assert_eq!(read_ids(&journal, 9), [5, 6]);
        journal.confirm(&[Position(0), Position(1)]);
        assert_eq!(journal.status().messages, 2);
    }

    /// Goal: behind, a book keeps its place in the queue with its newest state; trades are all kept.
    #[test]
    fn books_are_conflated_in_place_when_behind() {
        let journal = journal(8);
        let book = |id| record(id, DataType::OrderBook, "A-B");
        journal.append(&mut vec![book(100), trade(1), trade(2), trade(3), trade(4)]).unwrap();
        let outcome = journal.append(&mut vec![book(101), trade(5), book(102)]).unwrap();
        assert_eq!(outcome, AppendResult { conflated: 2, dropped: 0 });
        let other = record(103, DataType::OrderBook, "C-D");
        assert_eq!(journal.append(&mut vec![other]).unwrap(), AppendResult::default());
        assert_eq!(read_ids(&journal, 9), [102, 1, 2, 3, 4, 5, 103]);
        // Once in flight, a state is not replaced any more.
        assert_eq!(journal.append(&mut vec![book(104)]).unwrap(), AppendResult::default());
        assert_eq!(read_ids(&journal, 9), [104]);
    }

    /// Goal: a journal that is full but being emptied makes the pipeline wait instead of losing records.
    #[test]
    fn a_slow_reader_makes_the_writer_wait() {
        let limits = QueueLimits { messages: 10, bytes: 1 << 20 };
        let journal = MemoryQueue::with_room_wait(limits, Arc::new(Auditor::off()), Duration::from_secs(20));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| journal.append(&mut (0..1_000).map(trade).collect()).unwrap());
            let mut next = 0;
            while next < 1_000 {
                let mut entries = Vec::new();
                journal.read_next(7, usize::MAX, &mut entries);
                for entry in &entries {
                    assert_eq!(entry.record.event_id.0, next);
                    next += 1;
                }
                journal.confirm(&entries.iter().map(|entry| entry.position).collect::<Vec<_>>());
                std::thread::yield_now();
            }
            assert_eq!(writer.join().unwrap(), AppendResult::default());
        });
        assert!(journal.status().waits > 0);
    }

    /// Goal: a read stops at its bound of bytes, but always gives one record.
    #[test]
    fn reads_are_bounded_in_bytes() {
        let journal = journal(10);
        journal.append(&mut (0..3).map(trade).collect()).unwrap();
        let mut entries = Vec::new();
        journal.read_next(10, 1, &mut entries);
        assert_eq!(entries.len(), 1);
        let two = trade(1).size() * 2;
        journal.read_next(10, two, &mut entries);
        assert_eq!(entries.len(), 3);
    }
}
