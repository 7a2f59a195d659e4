//! The memory queue's data, without locks or waits: one lane per feed. A lane above its share of the bounds leaves an eighth of them
//! free, so that a flood of one feed makes no other feed wait; lanes are read in turn; what does not fit is taken from the fullest.

use std::collections::{BTreeMap, HashMap, VecDeque};

use async_nats::Subject;
use marketprism_schema::{DataType, DataTypeMap};

use super::memory::{AbandonedRecords, QueueLimits};
use super::pending_seconds::PendingSeconds;
use super::record::{
    AppendResult, Confirmation, EventJournal, EventRecord, JournalPosition, QueueEntry, QueueLane,
    QueuePosition, QueueStatus, StoredRecord,
};
use crate::audit::{AuditStream, PublishOutcome, RecordOutcome};

/// Bytes read from a lane before the next has its turn.
const TURN_BYTES: usize = 64 << 10;

/// Part of the bounds that lanes above their share leave free.
const RESERVED_PART: u64 = 8;

#[derive(Debug)]
pub(super) struct Lanes {
    limits: QueueLimits,
    lanes: Vec<Lane>,
    /// Records read back from the journal; outside the bounds of the others, and read when no other lane has any.
    catch_up: Lane,
    in_flight: HashMap<QueuePosition, InFlightRecord>,
    next_position: u64,
    turn: usize,
    pending: PendingSeconds,
    /// Outcomes of records that were dropped or conflated since the last call of `take_lost`.
    lost: Vec<RecordOutcome>,
    pub(super) status: QueueStatus,
    /// Highest sequence acknowledged of the stream of each type.
    pub(super) acknowledged: DataTypeMap<u64>,
}

#[derive(Debug, Default)]
struct Lane {
    unread: VecDeque<EventRecord>,
    /// Records that left `unread` at its front.
    left: u64,
    /// Each book's newest unread state and quote, by its number in the lane.
    books: BTreeMap<Subject, u64>,
    /// Waiting or in flight.
    messages: u64,
    bytes: u64,
}

#[derive(Debug)]
struct InFlightRecord {
    /// `None`: of the catch-up.
    lane: Option<QueueLane>,
    journal: Option<JournalPosition>,
    sent_after: u64,
    bytes: u64,
    /// If its acknowledgement never comes.
    outcome: RecordOutcome,
}

impl Lanes {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            lanes: Vec::new(),
            catch_up: Lane::default(),
            in_flight: HashMap::new(),
            next_position: 0,
            turn: 0,
            pending: PendingSeconds::default(),
            lost: Vec::new(),
            status: QueueStatus::default(),
            acknowledged: DataTypeMap::default(),
        }
    }

    pub(super) const fn set_limits(&mut self, limits: QueueLimits) {
        self.limits = limits;
    }

    fn lane(&mut self, lane: QueueLane) -> Option<&mut Lane> {
        if self.lanes.len() <= lane.position() {
            self.lanes.resize_with(lane.position() + 1, Lane::default);
        }
        self.lanes.get_mut(lane.position())
    }

    pub(super) fn has_room(&mut self, lane: QueueLane, messages: u64, bytes: u64) -> bool {
        let used = self.lane(lane).map_or((0, 0), |lane| (lane.messages, lane.bytes));
        let (of_messages, of_bytes) = (self.limits.messages, self.limits.bytes);
        let lanes = count(self.lanes.len()).max(1);
        let in_share = used.0.saturating_add(messages) <= of_messages / lanes
            && used.1.saturating_add(bytes) <= of_bytes / lanes;
        let reserved = |limit: u64| if in_share || lanes == 1 { 0 } else { limit / RESERVED_PART };
        self.status.messages.saturating_add(messages) <= of_messages - reserved(of_messages)
            && self.status.bytes.saturating_add(bytes) <= of_bytes - reserved(of_bytes)
    }

    /// Past half of a bound, only the newest state and quote of each book are kept, and no change of one, so that trades have the rest. Lanes that use less than half of
    /// their share keep all.
    fn is_behind(&mut self, lane: QueueLane) -> bool {
        let lanes = count(self.lanes.len()).max(1);
        let (messages, bytes) = (self.limits.messages / 2, self.limits.bytes / 2);
        let used = self.lane(lane).map_or((0, 0), |lane| (lane.messages, lane.bytes));
        (self.status.messages > messages && used.0 > messages / lanes)
            || (self.status.bytes > bytes && used.1 > bytes / lanes)
    }

    pub(super) fn append(
        &mut self,
        lane: QueueLane,
        record: EventRecord,
        journal: Option<&dyn EventJournal>,
    ) -> AppendResult {
        let mut result = AppendResult::default();
        self.status.appended += 1;
        let is_book = is_state(record.data_type);
        let is_change = record.data_type == DataType::OrderBookDelta;
        if is_change && record.journal.is_none() && self.is_behind(lane) {
            result.dropped = 1;
            self.status.dropped[record.data_type] += 1;
            self.lost.push(record.with_outcome(PublishOutcome::Dropped));
            return result;
        }
        // What the journal takes, the disk has room for.
        let may_conflate = is_book && record.journal.is_none() && self.is_behind(lane);
        if may_conflate && self.replace_book(lane, &record, journal) {
            result.conflated = 1;
            self.status.conflated += 1;
        } else {
            self.push(lane, record, is_book);
        }
        while !self.has_room(lane, 0, 0)
            && let Some(record) = self.take_oldest()
        {
            if journal.zip(record.journal).is_some_and(|(journal, position)| journal.spill(position)) {
                result.spilled += 1;
                self.status.spilled += 1;
            } else {
                result.dropped += 1;
                self.status.dropped[record.data_type] += 1;
                self.lost.push(record.with_outcome(PublishOutcome::Dropped));
            }
        }
        result
    }

    fn push(&mut self, lane: QueueLane, record: EventRecord, is_book: bool) {
        let bytes = count(record.size());
        self.status.messages += 1;
        self.status.unread += 1;
        self.status.bytes += bytes;
        self.pending.add(record.received_at_ns);
        let Some(lane) = self.lane(lane) else { return };
        lane.messages += 1;
        lane.bytes += bytes;
        if is_book {
            lane.books.insert(record.subject.clone(), lane.left + count(lane.unread.len()));
        }
        lane.unread.push_back(record);
    }

    /// Replaces a book's older unread state in its place: at the end of the queue it would be replaced again and again.
    fn replace_book(
        &mut self,
        lane: QueueLane,
        record: &EventRecord,
        journal: Option<&dyn EventJournal>,
    ) -> bool {
        let Some(lane) = self.lanes.get_mut(lane.position()) else { return false };
        let Some(number) = lane.books.get(&record.subject) else { return false };
        let index = usize::try_from(number.saturating_sub(lane.left)).unwrap_or(usize::MAX);
        let Some(old) = lane.unread.get_mut(index) else { return false };
        let old = std::mem::replace(old, record.clone());
        let (old_bytes, bytes) = (count(old.size()), count(record.size()));
        lane.bytes = lane.bytes.saturating_sub(old_bytes) + bytes;
        self.status.bytes = self.status.bytes.saturating_sub(old_bytes) + bytes;
        self.pending.remove(old.received_at_ns);
        self.pending.add(record.received_at_ns);
        self.lost.push(old.with_outcome(PublishOutcome::Conflated));
        if let (Some(journal), Some(position)) = (journal, old.journal) {
            journal.settle(&[position], PublishOutcome::Conflated);
        }
        true
    }

    /// The oldest record of the fullest lane that has any which is not in flight.
    fn take_oldest(&mut self) -> Option<EventRecord> {
        let limits = self.limits;
        let used = |lane: &Lane| {
            let messages = u128::from(lane.messages) * u128::from(limits.bytes);
            messages.max(u128::from(lane.bytes) * u128::from(limits.messages))
        };
        let unread = self.lanes.iter_mut().filter(|lane| !lane.unread.is_empty());
        let lane = unread.max_by_key(|lane| used(lane))?;
        let record = lane.pop()?;
        let bytes = count(record.size());
        lane.free(bytes);
        self.free(record.received_at_ns, bytes);
        self.status.unread = self.status.unread.saturating_sub(1);
        Some(record)
    }

    /// Records and bytes of the journal that are waiting or in flight.
    pub(super) const fn catching_up(&self) -> (u64, u64) {
        (self.catch_up.messages, self.catch_up.bytes)
    }

    pub(super) fn append_catch_up(&mut self, record: EventRecord) {
        // Records of earlier runs keep no window of this one open.
        if record.stream.is_some_and(AuditStream::is_of_this_run) {
            self.pending.add(record.received_at_ns);
        }
        self.status.catch_up += 1;
        self.status.unread += 1;
        self.catch_up.messages += 1;
        self.catch_up.bytes += count(record.size());
        self.catch_up.unread.push_back(record);
    }

    /// Lanes have turns of [`TURN_BYTES`]; each call begins with the lane after the last one. The journal's records come last.
    pub(super) fn read_next(&mut self, messages_max: usize, bytes_max: usize, out: &mut Vec<QueueEntry>) {
        let (mut messages, mut bytes, mut idle) = (0_usize, 0_usize, 0);
        while messages < messages_max && idle < self.lanes.len() {
            let lane = QueueLane::of_feed(self.turn % self.lanes.len());
            self.turn = lane.position() + 1;
            let mut turn_bytes = 0;
            while messages < messages_max && turn_bytes < TURN_BYTES {
                let Some(size) = self.next_size(Some(lane)) else { break };
                if bytes.saturating_add(size) > bytes_max && messages > 0 {
                    return;
                }
                out.extend(self.send_next(Some(lane)));
                messages += 1;
                bytes += size;
                turn_bytes += size;
            }
            idle = if turn_bytes == 0 { idle + 1 } else { 0 };
        }
        while messages < messages_max
            && let Some(size) = self.next_size(None)
            && (bytes.saturating_add(size) <= bytes_max || messages == 0)
        {
            out.extend(self.send_next(None));
            messages += 1;
            bytes += size;
        }
    }

    fn lane_mut(&mut self, lane: Option<QueueLane>) -> Option<&mut Lane> {
        match lane {
            Some(lane) => self.lanes.get_mut(lane.position()),
            None => Some(&mut self.catch_up),
        }
    }

    fn next_size(&mut self, lane: Option<QueueLane>) -> Option<usize> {
        self.lane_mut(lane)?.unread.front().map(EventRecord::size)
    }

    fn send_next(&mut self, lane: Option<QueueLane>) -> Option<QueueEntry> {
        let record = self.lane_mut(lane)?.pop()?;
        let position = QueuePosition(self.next_position);
        self.next_position += 1;
        self.status.unread = self.status.unread.saturating_sub(1);
        let outcome = record.with_outcome(PublishOutcome::Ambiguous);
        let (journal, sent_after) = (record.journal, self.acknowledged[record.data_type]);
        let sent = InFlightRecord { lane, journal, sent_after, bytes: count(record.size()), outcome };
        self.in_flight.insert(position, sent);
        Some(QueueEntry { position, record })
    }

    /// Those that the journal has: stored, and rejected ones.
    pub(super) fn confirm(
        &mut self,
        confirmations: &[Confirmation],
    ) -> (Vec<StoredRecord>, Vec<JournalPosition>) {
        let (mut stored, mut settled) = (Vec::with_capacity(confirmations.len()), Vec::new());
        for Confirmation { position, sequence, outcome: published } in confirmations {
            let Some(sent) = self.in_flight.remove(position) else { continue };
            let InFlightRecord { lane, journal, sent_after, bytes, outcome } = sent;
            let sent_after = if *published == PublishOutcome::Stored { sent_after } else { 0 };
            self.status.confirmed += 1;
            match (journal, *sequence) {
                (Some(position), Some(sequence)) => {
                    let outcome = *published;
                    stored.push(StoredRecord { position, sequence, sent_after, outcome });
                }
                (Some(position), None) => settled.push(position),
                (None, _) => {}
            }
            if let Some(lane) = self.lane_mut(lane) {
                lane.free(bytes);
            }
            if lane.is_some() {
                self.free(outcome.received_at_ns, bytes);
            } else {
                self.status.catch_up = self.status.catch_up.saturating_sub(1);
                if outcome.stream.is_some_and(AuditStream::is_of_this_run) {
                    self.pending.remove(outcome.received_at_ns);
                }
            }
        }
        (stored, settled)
    }

    /// Removes everything. What is in flight may be stored, and the next run sends what the journal has; the rest is lost.
    pub(super) fn abandon(
        &mut self,
        journal: Option<&dyn EventJournal>,
    ) -> (Vec<RecordOutcome>, AbandonedRecords) {
        let (mut outcomes, mut result) = (Vec::new(), AbandonedRecords::default());
        for (_, sent) in self.in_flight.drain() {
            result.count(is_kept(sent.journal, journal));
            outcomes.push(sent.outcome);
        }
        let lanes = std::mem::take(&mut self.lanes).into_iter().chain([std::mem::take(&mut self.catch_up)]);
        for record in lanes.flat_map(|lane| lane.unread) {
            let is_kept = is_kept(record.journal, journal);
            result.count(is_kept);
            let outcome = if is_kept { PublishOutcome::Ambiguous } else { PublishOutcome::Dropped };
            outcomes.push(record.with_outcome(outcome));
        }
        // Outcomes of one window together.
        outcomes.sort_unstable_by_key(|outcome| outcome.received_at_ns);
        self.pending = PendingSeconds::default();
        (self.status.messages, self.status.unread, self.status.bytes, self.status.catch_up) = (0, 0, 0, 0);
        (outcomes, result)
    }

    pub(super) fn take_lost(&mut self) -> Vec<RecordOutcome> {
        std::mem::take(&mut self.lost)
    }

    pub(super) fn oldest_pending_ns(&self) -> Option<i64> {
        self.pending.oldest_ns()
    }

    fn free(&mut self, received_at_ns: i64, bytes: u64) {
        self.pending.remove(received_at_ns);
        self.status.messages = self.status.messages.saturating_sub(1);
        self.status.bytes = self.status.bytes.saturating_sub(bytes);
    }
}

impl Lane {
    fn pop(&mut self) -> Option<EventRecord> {
        let record = self.unread.pop_front()?;
        if is_state(record.data_type) && self.books.get(&record.subject) == Some(&self.left) {
            self.books.remove(&record.subject);
        }
        self.left += 1;
        Some(record)
    }

    fn free(&mut self, bytes: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// A newer event of the same subject makes an older one needless.
const fn is_state(data_type: DataType) -> bool {
    matches!(data_type, DataType::OrderBook | DataType::Quote)
}

fn is_kept(position: Option<JournalPosition>, journal: Option<&dyn EventJournal>) -> bool {
    journal.zip(position).is_some_and(|(journal, position)| journal.holds(position))
}

pub(super) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOODING: QueueLane = QueueLane::of_feed(0);
    const QUIET: QueueLane = QueueLane::of_feed(1);

    fn trade(id: u64) -> EventRecord {
        EventRecord::fixture(id, DataType::Trade, "A-B")
    }

    fn lanes(messages: u64) -> Lanes {
        let mut lanes = Lanes::new(QueueLimits { messages, bytes: 1 << 30 });
        assert!(lanes.has_room(QUIET, 1, 1));
        lanes
    }

    fn read(lanes: &mut Lanes, messages: usize) -> Vec<u128> {
        let mut out = Vec::new();
        lanes.read_next(messages, usize::MAX, &mut out);
        out.iter().map(|entry| entry.record.event_id.0).collect()
    }

    #[test]
    fn a_flood_leaves_room_for_the_others_and_loses_its_own_oldest_records() {
        let mut lanes = lanes(80);
        (0..70).for_each(|id| assert_eq!(lanes.append(FLOODING, trade(id), None).dropped, 0));
        assert!(!lanes.has_room(FLOODING, 1, 1) && lanes.has_room(QUIET, 1, 1));
        (1_000..1_010).for_each(|id| assert_eq!(lanes.append(QUIET, trade(id), None).dropped, 0));
        assert!(!lanes.has_room(QUIET, 1, 1), "the queue is full");
        // The quiet feed is in its share: the flooding one loses a record for it.
        assert_eq!(lanes.append(QUIET, trade(1_010), None).dropped, 1);
        assert!(lanes.append(FLOODING, trade(70), None).dropped >= 1);
        let left = read(&mut lanes, 100);
        assert!((1_000..=1_010).all(|id| left.contains(&id)), "{left:?}");
        assert!(!left.contains(&0) && !left.contains(&1) && left.contains(&70));
    }

    #[test]
    fn a_quiet_feeds_record_is_read_after_one_turn_of_the_flood() {
        let mut lanes = lanes(100_000);
        (0..50_000).for_each(|id| {
            lanes.append(FLOODING, trade(id), None);
        });
        read(&mut lanes, 256);
        lanes.append(QUIET, trade(99_999), None);
        let turn = TURN_BYTES / trade(1).size() + 1;
        let next = read(&mut lanes, 2 * turn);
        assert!(next.iter().take(turn + 1).any(|id| *id == 99_999), "{} read before", next.len());
    }

    #[test]
    fn records_without_an_acknowledgement_keep_no_room_of_those_after_them() {
        let mut lanes = lanes(1_000);
        lanes.append(FLOODING, trade(0), None);
        assert_eq!(read(&mut lanes, 1), [0]);
        for id in 1..10_000 {
            lanes.append(FLOODING, trade(id), None);
            let mut out = Vec::new();
            lanes.read_next(1, usize::MAX, &mut out);
            let position = out[0].position;
            lanes.confirm(&[Confirmation { position, sequence: Some(1), outcome: PublishOutcome::Stored }]);
        }
        assert_eq!((lanes.status.messages, lanes.in_flight.len()), (1, 1));
        assert!(lanes.lanes[0].unread.capacity() < 16);
    }

    #[test]
    fn what_is_left_at_the_end_is_dropped_or_in_flight() {
        let mut lanes = lanes(10);
        (0..4).for_each(|id| {
            lanes.append(QUIET, trade(id), None);
        });
        assert_eq!(read(&mut lanes, 1), [0]);
        let (outcomes, abandoned) = lanes.abandon(None);
        assert_eq!(abandoned, AbandonedRecords { lost: 4, kept: 0 });
        let of = |outcome| outcomes.iter().filter(|one| one.outcome == outcome).count();
        assert_eq!((of(PublishOutcome::Ambiguous), of(PublishOutcome::Dropped)), (1, 3));
        assert_eq!((lanes.status.messages, lanes.oldest_pending_ns()), (0, None));
    }
}
