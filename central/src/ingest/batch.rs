//! Rows being collected for the tables of a stream.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use marketprism_schema::{DataType, EventId};
use xxhash_rust::xxh3::Xxh3;

use super::lookup::StoredRows;
use super::message::Delivery;
use super::open_message::OpenMessage;
use crate::config::BatchLimits;
use crate::limits::{AGE_WAITED_FOR, COPIES_A_BATCH};
use crate::row::{CopyGroups, TableRows, Target};

/// Entries that are hashed in one call.
const ENTRIES_HASHED: usize = 64;

#[derive(Debug)]
pub struct BatchEntry {
    /// Kept for its acknowledgement, and for the dead-letter table if ClickHouse refuses the row.
    pub message: Arc<OpenMessage>,
    /// Place of the event in the message.
    pub place: usize,
    /// Id of the event; for a dead letter, the hash of its payload.
    pub event_id: EventId,
    pub stream_seq: u64,
    /// Venue time in microseconds; 0 for duplicates and dead letters.
    pub timestamp_us: i64,
    /// Receive time of the edge in nanoseconds; 0 for dead letters.
    pub received_at_ns: i64,
    pub published_ns: i64,
    /// The event may be in hot already, so it is looked up before the insert.
    pub may_be_stored: bool,
}

/// Rows being collected for one table, in order of arrival.
#[derive(Debug)]
pub struct Batch {
    pub target: Target,
    pub stream: &'static str,
    pub entries: Vec<BatchEntry>,
    /// One for each entry, but none for copies.
    pub rows: TableRows,
    /// They become rows when the batch is sealed.
    pub copies: CopyGroups,
    payload_bytes: usize,
    opened: Instant,
}

impl BatchEntry {
    /// Entry of a duplicate or dead letter, whose event is not stored.
    pub fn without_event(
        (message, place): (Arc<OpenMessage>, usize),
        event_id: EventId,
        delivery: Delivery,
    ) -> Self {
        let Delivery { stream_seq, published_ns, .. } = delivery;
        let (timestamp_us, received_at_ns, may_be_stored) = (0, 0, false);
        Self {
            message,
            place,
            event_id,
            stream_seq,
            timestamp_us,
            received_at_ns,
            published_ns,
            may_be_stored,
        }
    }

    pub fn has_subject_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.message, &other.message) || self.message.subject == other.message.subject
    }
}

impl Batch {
    /// `capacity`: rows that it takes without growing.
    pub fn new(target: Target, stream: &'static str, capacity: usize) -> Self {
        Self {
            target,
            stream,
            entries: Vec::with_capacity(capacity),
            rows: TableRows::with_capacity(
                target.columns(),
                if target == Target::Copies { 0 } else { capacity },
            ),
            copies: CopyGroups::default(),
            payload_bytes: 0,
            opened: Instant::now(),
        }
    }

    pub fn push(&mut self, entry: BatchEntry) {
        self.payload_bytes += entry.message.bytes_an_event();
        self.entries.push(entry);
    }

    /// The batch has reached its limit of rows or bytes. Its age and the deliveries that it spans are checked apart.
    pub fn is_full(&self, limits: &BatchLimits) -> bool {
        let rows = match self.target {
            Target::Events(DataType::Trade | DataType::OrderBookDelta | DataType::Quote)
            | Target::CorrectedEvents => limits.trades,
            // They arrive as fast as the events that they repeat.
            Target::Copies => limits.trades.min(COPIES_A_BATCH),
            Target::Events(DataType::OrderBook) => limits.orderbooks,
            _ => limits.others,
        };
        self.entries.len() >= rows
            || self.rows.bytes() + self.copies.bytes() + self.payload_bytes >= limits.max_bytes
    }

    /// `is_waited_for`: a consumer has few deliveries left, and an acknowledgement passes no message before its last row, which may be in any of these tables.
    pub fn deadline(&self, limits: &BatchLimits, is_waited_for: bool) -> Instant {
        let age = match self.target {
            Target::Events(data_type) if data_type.is_frequent() => limits.max_age,
            Target::Copies | Target::CorrectedEvents | Target::DeadLetters if is_waited_for => {
                limits.max_age.min(AGE_WAITED_FOR)
            }
            _ => limits.max_age_others,
        };
        self.opened + age
    }

    /// Removes the entries whose events are stored already, and their rows. Returns each with the sequence of the stored row.
    pub fn take_stored(&mut self, stored: &StoredRows) -> Vec<(BatchEntry, u64)> {
        if stored.is_empty() {
            return Vec::new();
        }
        let (mut taken, mut kept): (_, Vec<Range<usize>>) = (Vec::new(), Vec::new());
        for (row, entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            if let Some(stream_seq) = stored.row_of(&entry) {
                taken.push((entry, stream_seq));
                continue;
            }
            self.entries.push(entry);
            match kept.last_mut().filter(|last| last.end == row) {
                Some(last) => last.end += 1,
                None => kept.push(row..row + 1),
            }
        }
        self.rows.keep(&kept);
        taken
    }

    /// Fixes the rows: every retry sends the same bytes.
    pub fn seal(mut self, created_at_ms: i64) -> Sealed {
        self.copies.encode(self.stream, &mut self.rows);
        self.rows.set_created_at(0, created_at_ms);
        Sealed { target: self.target, stream: self.stream, entries: self.entries, rows: self.rows }
    }
}

/// A batch whose rows no longer change.
#[derive(Debug)]
pub struct Sealed {
    pub target: Target,
    pub stream: &'static str,
    pub entries: Vec<BatchEntry>,
    pub rows: TableRows,
}

impl Sealed {
    pub const fn has_events(&self) -> bool {
        matches!(self.target, Target::Events(_))
    }

    /// True if a part of the entries has rows of its own.
    pub fn has_row_an_entry(&self) -> bool {
        self.target != Target::Copies
    }

    /// Deduplication token of an insert: `{stream}:{table}:{first sequence}-{last}:{count}:{hash}:{round}`.
    ///
    /// The hash covers sequences and event ids. Without it, a recreated stream (sequences start at 1 again) could produce the
    /// token of rows that are already stored, and ClickHouse would drop its rows as a repetition.
    pub fn token(&self, range: &Range<usize>, round: u32) -> String {
        let mut hash = Xxh3::new();
        let (mut first, mut last) = (u64::MAX, 0);
        let entries = self.entries.get(range.clone()).unwrap_or_default();
        // A call for each number would cost more than the hash.
        let mut hashed = Vec::with_capacity(ENTRIES_HASHED * (size_of::<u64>() + size_of::<u128>()));
        for some in entries.chunks(ENTRIES_HASHED) {
            hashed.clear();
            for entry in some {
                hashed.extend_from_slice(&entry.stream_seq.to_le_bytes());
                hashed.extend_from_slice(&entry.event_id.0.to_le_bytes());
                first = first.min(entry.stream_seq);
                last = last.max(entry.stream_seq);
            }
            hash.update(&hashed);
        }
        let (stream, table, count) = (self.stream, self.target.table(), entries.len());
        format!("{stream}:{table}:{first}-{last}:{count}:{:016x}:{round}", hash.digest())
    }
}

#[derive(Debug)]
pub struct OpenBatches {
    stream: &'static str,
    batches: BTreeMap<Target, Batch>,
    /// Rows of the last batch of each table: a good guess for the next.
    capacities: BTreeMap<Target, usize>,
}

impl OpenBatches {
    pub fn new(stream: &'static str) -> Self {
        Self { stream, batches: BTreeMap::new(), capacities: BTreeMap::new() }
    }

    pub fn of(&mut self, target: Target) -> &mut Batch {
        let Self { stream, batches, capacities } = self;
        batches.entry(target).or_insert_with(|| {
            let capacity = capacities.get(&target).copied().unwrap_or_default();
            Batch::new(target, stream, capacity)
        })
    }

    pub fn has(&self, target: Target) -> bool {
        self.batches.contains_key(&target)
    }

    pub fn deadline(&self, limits: &BatchLimits, is_waited_for: bool) -> Option<tokio::time::Instant> {
        self.batches
            .values()
            .map(|batch| batch.deadline(limits, is_waited_for))
            .min()
            .map(tokio::time::Instant::from_std)
    }

    pub fn close_if(&mut self, is_due: impl Fn(&Batch) -> bool) -> Vec<Batch> {
        let due: Vec<Target> = self.batches.iter().filter(|(_, b)| is_due(b)).map(|(t, _)| *t).collect();
        let closed = due.iter().filter_map(|target| self.batches.remove(target));
        // An event whose row could not be encoded leaves an empty batch.
        let closed: Vec<Batch> = closed.filter(|batch| !batch.entries.is_empty()).collect();
        self.capacities.extend(closed.iter().map(|batch| (batch.target, batch.entries.len())));
        closed
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use marketprism_schema::Decimal;

    use super::*;
    use crate::fixtures::{self, TRADE_SUBJECT};
    use crate::row::{CopyRow, encode_event};

    fn row(rows: &mut TableRows, stream_seq: u64) {
        let event = fixtures::trade(fixtures::header(), Decimal::default());
        encode_event(&event, stream_seq, rows).unwrap();
    }

    /// Adds an entry with the row of a trade.
    pub fn add(batch: &mut Batch, stream_seq: u64, id: u128, payload: usize) {
        row(&mut batch.rows, stream_seq);
        let message = fixtures::message(TRADE_SUBJECT, None, vec![0; payload]);
        batch.push(BatchEntry {
            message: OpenMessage::new(message, 1),
            place: 0,
            event_id: EventId(id),
            stream_seq,
            timestamp_us: 0,
            received_at_ns: 0,
            published_ns: 0,
            may_be_stored: true,
        });
    }

    fn limits(others: usize, max_bytes: usize) -> BatchLimits {
        BatchLimits {
            trades: others,
            orderbooks: others,
            others,
            max_bytes,
            max_age: Duration::from_secs(1),
            max_age_others: Duration::from_secs(5),
            max_in_flight: 1,
            recent_event_ids: 1,
        }
    }

    fn trades() -> Batch {
        Batch::new(Target::Events(DataType::Trade), "MARKET_DATA", 0)
    }

    #[test]
    fn a_batch_is_full_by_rows_or_by_bytes() {
        let mut batch = trades();
        add(&mut batch, 1, 1, 100);
        assert!(!batch.is_full(&limits(2, 1000)) && batch.is_full(&limits(1, 1000)));
        let bytes = 100 + batch.rows.bytes();
        assert!(batch.is_full(&limits(2, bytes)) && !batch.is_full(&limits(2, bytes + 1)));
    }

    /// Its one row, which no refusal makes smaller, stays below the usual limit of a request, 1 MiB.
    #[test]
    fn copies_of_a_batch_fit_into_a_request() {
        let mut copies = Batch::new(Target::Copies, "MARKET_DATA", 0);
        let limits = BatchLimits { max_bytes: usize::MAX, ..limits(50_000, 0) };
        let event = fixtures::trade(fixtures::header(), Decimal::default());
        let message = OpenMessage::new(fixtures::message(TRADE_SUBJECT, None, Vec::new()), 1_000_000);
        while !copies.is_full(&limits) {
            let delivery = Delivery { stream_seq: 1, is_redelivered: false, published_ns: 0 };
            copies.copies.add(&CopyRow::of(&event, 1, "recent"));
            copies.push(BatchEntry::without_event((Arc::clone(&message), 0), EventId(1), delivery));
        }
        let sealed = copies.seal(1);
        assert!(sealed.entries.len() >= 10_000, "{}", sealed.entries.len());
        assert!(sealed.rows.whole_block().unwrap().len() < 1 << 20);
    }

    #[test]
    fn changes_of_books_and_quotes_are_batched_as_trades_are() {
        let limits = BatchLimits { trades: 3, ..limits(2, 1_000_000) };
        let fills_at = |data_type| {
            let mut batch = Batch { target: Target::Events(data_type), ..trades() };
            (1..9).find(|seq| {
                add(&mut batch, *seq, u128::from(*seq), 1);
                batch.is_full(&limits)
            })
        };
        let kinds = [DataType::OrderBook, DataType::OrderBookDelta, DataType::Quote];
        assert_eq!(kinds.map(fills_at), [Some(2), Some(3), Some(3)]);
    }

    #[test]
    fn the_oldest_batch_by_the_age_of_its_table_is_due_first() {
        let limits = limits(10, 1_000);
        let mut open = OpenBatches::new("MARKET_DATA");
        let slow = open.of(Target::Events(DataType::FundingRate)).opened;
        let due = |open: &OpenBatches| open.deadline(&limits, false).unwrap().into_std();
        assert_eq!(due(&open), slow + limits.max_age_others);
        let fast = open.of(Target::Events(DataType::Trade)).opened;
        assert_eq!(due(&open), fast + limits.max_age);
        let of_table = |target| Batch::new(target, "MARKET_DATA", 0);
        for target in [Target::Copies, Target::DeadLetters, Target::Events(DataType::Liquidation)] {
            let batch = of_table(target);
            assert_eq!(batch.deadline(&limits, false), batch.opened + limits.max_age_others);
        }
        let waited_for = |target| {
            let batch = of_table(target);
            batch.deadline(&limits, true) - batch.opened
        };
        for target in [Target::Copies, Target::DeadLetters, Target::CorrectedEvents] {
            assert_eq!(waited_for(target), AGE_WAITED_FOR);
        }
        assert_eq!(waited_for(Target::Events(DataType::Trade)), limits.max_age);
    }

    #[test]
    fn rows_stay_with_their_entries_through_removal_sealing_and_slicing() {
        let mut batch = trades();
        for seq in 1..=4 {
            add(&mut batch, seq, seq.into(), 0);
        }
        let stored = StoredRows::from_iter([(EventId(2), 77, 0), (EventId(3), 3, 0), (EventId(9), 9, 0)]);
        let taken = batch.take_stored(&stored);
        assert_eq!(taken.iter().map(|(e, seq)| (e.stream_seq, *seq)).collect::<Vec<_>>(), [(2, 77), (3, 3)]);
        let sealed = batch.seal(0x0102);
        let alone = |sequences: &[u64]| {
            let mut rows = TableRows::new(sealed.target.columns());
            sequences.iter().for_each(|&seq| row(&mut rows, seq));
            rows.set_created_at(0, 0x0102);
            rows.whole_block()
        };
        for (range, sequences) in [(0..2, &[1, 4][..]), (0..1, &[1]), (1..2, &[4])] {
            assert_eq!(sealed.rows.block(range), alone(sequences));
        }
    }

    #[test]
    fn copies_become_rows_when_their_batch_is_sealed() {
        let mut batch = Batch::new(Target::Copies, "MARKET_DATA", 5);
        let event = fixtures::trade(fixtures::header(), Decimal::default());
        for stream_seq in 1..=3 {
            let message = OpenMessage::new(fixtures::message(TRADE_SUBJECT, None, Vec::new()), 1);
            let delivery = Delivery { stream_seq, is_redelivered: false, published_ns: 1 };
            batch.copies.add(&CopyRow::of(&event, stream_seq, "recent"));
            batch.push(BatchEntry::without_event((message, 0), EventId(3), delivery));
        }
        assert!(batch.rows.is_empty());
        let bytes = batch.rows.bytes() + batch.copies.bytes();
        assert!(batch.is_full(&limits(9, bytes)) && !batch.is_full(&limits(9, bytes + 1)));
        let sealed = batch.seal(9);
        assert_eq!((sealed.entries.len(), sealed.rows.len()), (3, 1));
        assert_eq!(sealed.rows.block(0..3), sealed.rows.whole_block(), "the whole batch is inserted");
        assert!(!sealed.has_row_an_entry(), "no part of it");
    }

    /// A recreated stream reuses sequences, so the token must depend on the event ids too.
    #[test]
    fn the_token_is_unique_to_its_rows_even_after_the_stream_is_recreated() {
        let sealed = |ids: [u128; 3]| {
            let mut batch = trades();
            for (seq, id) in (5..).zip(ids) {
                add(&mut batch, seq, id, 0);
            }
            batch.seal(1)
        };
        let token = sealed([1, 2, 3]).token(&(0..3), 0);
        assert!(token.starts_with("MARKET_DATA:trades:5-7:3:"), "{token}");
        assert_eq!(token, sealed([1, 2, 3]).token(&(0..3), 0));
        assert_ne!(token, sealed([1, 2, 4]).token(&(0..3), 0));
        assert_ne!(token, sealed([1, 2, 3]).token(&(0..2), 0));
        assert_ne!(token, sealed([1, 2, 3]).token(&(0..3), 1));
    }

    /// Entries are hashed many at a time.
    #[test]
    fn the_token_depends_on_every_entry_of_a_long_batch() {
        let token = |changed: Option<u64>| {
            let mut batch = trades();
            let count = u64::try_from(2 * ENTRIES_HASHED + 3).unwrap();
            for seq in 0..count {
                add(&mut batch, seq, u128::from(seq) + if changed == Some(seq) { 1_000 } else { 0 }, 0);
            }
            batch.seal(1).token(&(0..usize::try_from(count).unwrap()), 0)
        };
        let whole = token(None);
        assert_eq!(whole, token(None));
        for changed in [0, 63, 64, 128, 130] {
            assert_ne!(whole, token(Some(changed)), "{changed}");
        }
    }
}
