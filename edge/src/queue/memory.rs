//! The queue in memory.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::lanes::{Lanes, count};
use super::record::{
    AppendResult, Confirmation, EventJournal, EventQueue, EventRecord, QueueEntry, QueueLane, QueueStatus,
};
use crate::audit::{Auditor, PublishOutcome};
use crate::limits::QUEUE_ROOM_WAIT;

/// Bounds of records that are waiting or in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    pub messages: u64,
    /// Sum of [`EventRecord::size`].
    pub bytes: u64,
}

/// Left in the queue at the end of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AbandonedRecords {
    pub lost: u64,
    /// The journal has them; the next run sends them.
    pub kept: u64,
}

impl AbandonedRecords {
    pub(super) const fn count(&mut self, is_kept: bool) {
        if is_kept {
            self.kept += 1;
        } else {
            self.lost += 1;
        }
    }
}

/// While it is full for a lane and records are still being confirmed, `append` waits: back-pressure reaches the venue and nothing is lost. Without
/// a confirmation for [`QUEUE_ROOM_WAIT`] (an outage of the broker) the oldest records that are not in flight are dropped and counted,
/// without a further wait until the next confirmation. Records of the journal make nobody wait and are not lost: they are sent later, from
/// the disk.
#[derive(Debug)]
pub struct MemoryQueue {
    state: Mutex<QueueState>,
    freed: Condvar,
    readable: Notify,
    room_wait: Duration,
    /// Counts dropped and conflated records.
    auditor: Arc<Auditor>,
    journal: Option<JournalLink>,
}

struct JournalLink(Arc<dyn EventJournal>);

#[derive(Debug)]
struct QueueState {
    lanes: Lanes,
    /// Bounds of the records of the journal in memory.
    catch_up: QueueLimits,
    /// No confirmation came during a whole wait.
    stalled: bool,
    closed: bool,
}

impl std::fmt::Debug for JournalLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JournalLink")
    }
}

impl MemoryQueue {
    pub fn new(limits: QueueLimits, auditor: Arc<Auditor>) -> Self {
        Self::with_room_wait(limits, auditor, QUEUE_ROOM_WAIT)
    }

    /// For tests that fill it: another wait than [`QUEUE_ROOM_WAIT`].
    pub fn with_room_wait(limits: QueueLimits, auditor: Arc<Auditor>, room_wait: Duration) -> Self {
        let (lanes, catch_up) = (Lanes::new(limits), QueueLimits { messages: 0, bytes: 0 });
        let state = QueueState { lanes, catch_up, stalled: false, closed: false };
        Self {
            state: Mutex::new(state),
            freed: Condvar::new(),
            readable: Notify::new(),
            room_wait,
            auditor,
            journal: None,
        }
    }

    /// `catch_up` bounds the records of the journal that are in memory, so that live ones find room in flight.
    pub fn with_journal(mut self, journal: Arc<dyn EventJournal>, catch_up: QueueLimits) -> Self {
        self.journal = Some(JournalLink(journal));
        self.lock().catch_up = catch_up;
        self
    }

    /// From now on. What is above them stays until it is sent.
    pub fn set_limits(&self, limits: QueueLimits, catch_up: QueueLimits) {
        let mut state = self.lock();
        state.lanes.set_limits(limits);
        state.catch_up = catch_up;
        drop(state);
        self.freed.notify_all();
    }

    fn journal(&self) -> Option<&dyn EventJournal> {
        self.journal.as_ref().map(|JournalLink(journal)| journal.as_ref())
    }

    /// Room for records of the journal; waits for it up to `limit`. `None`: there is none.
    pub fn wait_for_catch_up(&self, limit: Duration) -> Option<QueueLimits> {
        self.journal.as_ref()?;
        let room = |state: &QueueState| {
            let catch_up = state.catch_up;
            let (messages, bytes) = state.lanes.catching_up();
            let left = QueueLimits {
                messages: catch_up.messages.checked_sub(messages)?,
                bytes: catch_up.bytes.checked_sub(bytes)?,
            };
            (!state.closed && left.messages > 0 && left.bytes > 0).then_some(left)
        };
        let (state, _) = self
            .freed
            .wait_timeout_while(self.lock(), limit, |state| room(state).is_none() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        room(&state)
    }

    /// Records read back from the journal. A closed queue takes none: nobody would send them, or report them to the audits.
    pub fn append_catch_up(&self, records: Vec<EventRecord>) {
        let mut state = self.lock();
        if state.closed || records.is_empty() {
            return;
        }
        if let Some(journal) = self.journal() {
            journal.queued(&records);
        }
        records.into_iter().for_each(|record| state.lanes.append_catch_up(record));
        drop(state);
        self.readable.notify_one();
    }

    /// Ends waits for room; from now on records that do not fit are dropped at once.
    pub fn close(&self) {
        self.lock().closed = true;
        self.freed.notify_all();
        self.readable.notify_one();
    }

    /// Gives up everything, for the end of the publisher: the audits say what was not sent, and what was sent without an
    /// acknowledgement.
    pub fn abandon(&self) -> AbandonedRecords {
        let mut state = self.lock();
        let (outcomes, abandoned) = state.lanes.abandon(self.journal());
        self.auditor.record(&outcomes);
        abandoned
    }

    /// Each statement leaves the queue whole, so a poisoned lock (a thread that panicked) is used on.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs while the lock is held: no window is closed between a loss and its count.
    fn count_lost(&self, state: &mut QueueState) {
        self.auditor.record(&state.lanes.take_lost());
    }

    fn wait_for_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, QueueState>,
        lane: QueueLane,
        bytes: u64,
    ) -> MutexGuard<'a, QueueState> {
        self.count_lost(&mut state);
        state.lanes.status.waits += 1;
        let mut confirmed = state.lanes.status.confirmed;
        let mut deadline = Instant::now() + self.room_wait;
        while !state.lanes.has_room(lane, 1, bytes) && !state.closed && !state.stalled {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.stalled = true;
                break;
            }
            (state, _) = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            if state.lanes.status.confirmed != confirmed {
                confirmed = state.lanes.status.confirmed;
                deadline = Instant::now() + self.room_wait;
            }
        }
        state
    }
}

impl EventQueue for MemoryQueue {
    fn append(&self, lane: QueueLane, records: &mut Vec<EventRecord>) -> AppendResult {
        let mut result = AppendResult::default();
        if records.is_empty() {
            return result;
        }
        let journal = self.journal();
        if let Some(journal) = journal {
            journal.append(records);
        }
        let mut state = self.lock();
        for record in records.drain(..) {
            let bytes = count(record.size());
            let may_wait = record.journal.is_none() && !state.stalled && !state.closed;
            if may_wait && !state.lanes.has_room(lane, 1, bytes) {
                self.readable.notify_one();
                state = self.wait_for_room(state, lane, bytes);
            }
            let one = state.lanes.append(lane, record, journal);
            result.conflated += one.conflated;
            result.dropped += one.dropped;
            result.spilled += one.spilled;
        }
        self.count_lost(&mut state);
        drop(state);
        self.readable.notify_one();
        result
    }

    fn read_next(&self, messages_max: usize, bytes_max: usize, out: &mut Vec<QueueEntry>) {
        let acknowledged = self.journal().map(EventJournal::acknowledged).unwrap_or_default();
        let mut state = self.lock();
        state.lanes.acknowledged = acknowledged;
        state.lanes.read_next(messages_max, bytes_max, out);
    }

    fn confirm(&self, confirmations: &[Confirmation]) {
        if confirmations.is_empty() {
            return;
        }
        let mut state = self.lock();
        let (stored, rejected) = state.lanes.confirm(confirmations);
        state.stalled = false;
        drop(state);
        self.freed.notify_all();
        // Without the lock, for which pipelines would wait meanwhile.
        if let Some(journal) = self.journal() {
            journal.stored(&stored);
            journal.settle(&rejected, PublishOutcome::Rejected);
        }
    }

    fn oldest_pending_ns(&self) -> Option<i64> {
        // The journal first, under the lock: a record that comes back is here before it leaves the journal.
        let state = self.lock();
        let on_disk = self.journal().and_then(EventJournal::oldest_waiting_ns);
        on_disk.into_iter().chain(state.lanes.oldest_pending_ns()).min()
    }

    fn readable(&self) -> &Notify {
        &self.readable
    }

    fn status(&self) -> QueueStatus {
        self.lock().lanes.status
    }
}

#[cfg(test)]
mod tests {
    use marketprism_schema::DataType;

    use super::super::record::QueuePosition;
    use super::*;

    const LANE: QueueLane = QueueLane::of_feed(0);

    fn trade(id: u64) -> EventRecord {
        EventRecord::fixture(id, DataType::Trade, "A-B")
    }

    fn queue(messages: u64, room_wait: Duration) -> MemoryQueue {
        let limits = QueueLimits { messages, bytes: 1 << 20 };
        MemoryQueue::with_room_wait(limits, Arc::new(Auditor::off()), room_wait)
    }

    fn small_queue(messages: u64) -> MemoryQueue {
        queue(messages, Duration::from_millis(1))
    }

    fn read_ids(queue: &MemoryQueue, max: usize) -> Vec<u128> {
        let mut out = Vec::new();
        queue.read_next(max, usize::MAX, &mut out);
        out.iter().map(|entry| entry.record.event_id.0).collect()
    }

    fn at(position: u64) -> Confirmation {
        Confirmation { position: QueuePosition(position), sequence: Some(1), outcome: PublishOutcome::Stored }
    }

    #[test]
    fn lowered_bounds_keep_what_is_there_and_raised_ones_make_room() {
        let queue = small_queue(4);
        queue.append(LANE, &mut (0..4).map(trade).collect());
        let set = |messages| {
            let limits = QueueLimits { messages, bytes: 1 << 20 };
            queue.set_limits(limits, limits);
        };
        set(2);
        assert_eq!((queue.status().messages, queue.status().dropped[DataType::Trade]), (4, 0));
        set(6);
        queue.append(LANE, &mut (4..6).map(trade).collect());
        assert_eq!((queue.status().messages, queue.status().dropped[DataType::Trade]), (6, 0));
        set(5);
        queue.append(LANE, &mut vec![trade(6)]);
        assert!(queue.status().dropped[DataType::Trade] >= 2 && queue.status().messages <= 5);
    }

    #[test]
    fn records_are_read_once_in_order_and_hold_their_room_until_confirmed() {
        let queue = small_queue(4);
        queue.append(LANE, &mut (0..4).map(trade).collect());
        let mut entries = Vec::new();
        queue.read_next(3, usize::MAX, &mut entries);
        assert_eq!(entries.iter().map(|e| e.position.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(queue.status().messages, 4);
        queue.confirm(&[at(2), at(0), at(0), at(99)]);
        assert_eq!((queue.status().messages, queue.status().confirmed), (2, 2));
        assert_eq!(queue.append(LANE, &mut vec![trade(4), trade(5)]), AppendResult::default());
        assert_eq!(read_ids(&queue, 10), [3, 4, 5]);
        queue.confirm(&[at(1), at(3), at(4), at(5)]);
        assert_eq!((queue.status().messages, queue.status().bytes), (0, 0));
    }

    #[test]
    fn overflow_drops_the_oldest_records_that_are_not_in_flight_and_counts_them() {
        let queue = small_queue(4);
        queue.append(LANE, &mut (0..4).map(trade).collect());
        assert_eq!(read_ids(&queue, 2), [0, 1]);
        let result = queue.append(LANE, &mut vec![trade(4), trade(5), trade(6)]);
        assert_eq!(result, AppendResult { dropped: 3, ..AppendResult::default() });
        assert_eq!(queue.status().dropped[DataType::Trade], 3);
        assert_eq!(read_ids(&queue, 9), [5, 6]);
        queue.confirm(&[at(0), at(1)]);
        assert_eq!(queue.status().messages, 2);
    }

    #[test]
    fn past_half_of_its_bounds_the_queue_keeps_a_books_newest_state_and_quote_in_place_and_all_trades() {
        for kind in [DataType::OrderBook, DataType::Quote] {
            keeps_the_newest_in_place(kind);
        }
    }

    fn keeps_the_newest_in_place(kind: DataType) {
        let queue = small_queue(8);
        let book = |id| EventRecord::fixture(id, kind, "A-B");
        queue.append(LANE, &mut vec![book(100), trade(1), trade(2), trade(3), trade(4)]);
        let result = queue.append(LANE, &mut vec![book(101), trade(5), book(102)]);
        assert_eq!(result, AppendResult { conflated: 2, ..AppendResult::default() });
        let other = EventRecord::fixture(103, kind, "C-D");
        assert_eq!(queue.append(LANE, &mut vec![other]), AppendResult::default());
        assert_eq!(read_ids(&queue, 9), [102, 1, 2, 3, 4, 5, 103]);
        // A state in flight is not replaced.
        assert_eq!(queue.append(LANE, &mut vec![book(104)]), AppendResult::default());
        assert_eq!(read_ids(&queue, 9), [104]);
    }

    /// Changes of books would push trades out otherwise.
    #[test]
    fn past_half_of_its_bounds_the_queue_drops_changes_of_books_and_counts_them() {
        let queue = small_queue(8);
        let change = |id| EventRecord::fixture(id, DataType::OrderBookDelta, "A-B");
        queue.append(LANE, &mut vec![change(100), trade(1), trade(2), trade(3), trade(4)]);
        let result = queue.append(LANE, &mut vec![change(101), trade(5)]);
        assert_eq!(result, AppendResult { dropped: 1, ..AppendResult::default() });
        assert_eq!(queue.status().dropped[DataType::OrderBookDelta], 1);
        assert_eq!(read_ids(&queue, 9), [100, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_full_queue_that_is_being_emptied_makes_the_writer_wait_and_loses_nothing() {
        let queue = queue(10, Duration::from_secs(20));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| queue.append(LANE, &mut (0..1_000).map(trade).collect()));
            let mut next = 0;
            while next < 1_000 {
                let mut entries = Vec::new();
                queue.read_next(7, usize::MAX, &mut entries);
                for entry in &entries {
                    assert_eq!(entry.record.event_id.0, next);
                    next += 1;
                }
                queue.confirm(&entries.iter().map(|entry| at(entry.position.0)).collect::<Vec<_>>());
                std::thread::yield_now();
            }
            assert_eq!(writer.join().unwrap(), AppendResult::default());
        });
        assert!(queue.status().waits > 0);
    }

    #[test]
    fn a_read_stops_at_its_bound_of_bytes_but_gives_at_least_one_record() {
        let queue = small_queue(10);
        queue.append(LANE, &mut (0..3).map(trade).collect());
        let mut entries = Vec::new();
        queue.read_next(10, 1, &mut entries);
        assert_eq!(entries.len(), 1);
        queue.read_next(10, trade(1).size() * 2, &mut entries);
        assert_eq!(entries.len(), 3);
    }
}
