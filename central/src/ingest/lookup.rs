//! Lookup of events in hot before their insert: when it is needed, and the query.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use marketprism_schema::{DataType, DataTypeMap, EventId, Header};

use super::batch::BatchEntry;
use super::message::Delivery;
use super::recent_ids::NO_SEQUENCE;
use crate::row::{MOVED, Target, WITHDRAWN, WITHDRAWN_ADDITION};
use crate::storage::{Storage, StorageError, bounded};
use crate::{limits, sql, time};

/// Stored rows by event: sequence of the message, and receive time of its edge.
#[derive(Debug, Default)]
pub struct StoredRows(HashMap<EventId, Vec<(u64, i64)>>);

impl FromIterator<(EventId, u64, i64)> for StoredRows {
    fn from_iter<I: IntoIterator<Item = (EventId, u64, i64)>>(rows: I) -> Self {
        let mut all = Self::default();
        all.extend(rows);
        all
    }
}

impl StoredRows {
    fn extend(&mut self, rows: impl IntoIterator<Item = (EventId, u64, i64)>) {
        for (id, stream_seq, received_at_ns) in rows {
            self.0.entry(id).or_default().push((stream_seq, received_at_ns));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, event_id: EventId) -> bool {
        self.0.contains_key(&event_id)
    }

    /// Sequence of the stored row of an event: the entry's own if the row is from this very message, otherwise that of the
    /// other message. `None` if there is no row.
    ///
    /// The sequence alone does not identify a message: a broker that was put back gives sequences again.
    pub fn row_of(&self, entry: &BatchEntry) -> Option<u64> {
        let rows = self.0.get(&entry.event_id).filter(|_| entry.may_be_stored)?;
        let own = (entry.stream_seq, entry.received_at_ns);
        if rows.contains(&own) {
            return Some(entry.stream_seq);
        }
        rows.first()
            .map(|&(stream_seq, _)| if stream_seq == entry.stream_seq { NO_SEQUENCE } else { stream_seq })
    }
}

/// Size of a statement that the server takes.
const QUERY_BYTES: &str = "1000000";

/// Rows of the events of some entries in an event table. Those from before the stream was created have the sequence 0: an edge that sends its
/// journal again gives its events the sequences that they had in the stream before, and receive times do not tell them apart either. The clock of
/// hot is compared with that of the broker, without a margin, as the gap scan does: rows of the first seconds that hot stored by a clock behind
/// the broker's have the sequence 0 for both, and their own redelivery is a copy next to the row.
pub async fn stored_rows(
    storage: &Storage,
    (target, stream_created_ns): (Target, i64),
    entries: &[&BatchEntry],
) -> Result<StoredRows, StorageError> {
    let mut stored = StoredRows::default();
    for some in entries.chunks(limits::IDS_A_QUERY) {
        let table = format!("{}.{}", storage.database, target.table());
        let asked = query(storage, &table, stream_created_ns, some);
        let found: Vec<(u128, u64, i64)> = bounded(limits::QUERY_TIMEOUT, asked.fetch_all()).await?;
        stored.extend(found.into_iter().map(|(id, seq, received)| (EventId(id), seq, received)));
    }
    Ok(stored)
}

/// The time limits the parts that are read, exchange, market type and symbol the granules.
fn query(
    storage: &Storage,
    table: &str,
    stream_created_ns: i64,
    entries: &[&BatchEntry],
) -> clickhouse::query::Query {
    let subjects: BTreeSet<&str> = entries
        .chunk_by(|one, next| Arc::ptr_eq(&one.message, &next.message))
        .filter_map(|of_message| of_message.first().map(|entry| &*entry.message.subject))
        .collect();
    let tokens = |place: usize| -> Vec<&str> {
        let distinct: BTreeSet<&str> =
            subjects.iter().filter_map(|subject| subject.split('.').nth(place)).collect();
        distinct.into_iter().collect()
    };
    let from = entries.iter().map(|entry| entry.timestamp_us).min().unwrap_or_default();
    let to = entries.iter().map(|entry| entry.timestamp_us).max().unwrap_or_default();
    let ids = sql::ids(entries.iter().map(|entry| entry.event_id.0));
    let sql = statement(&storage.database, table, &ids, (from, to), stream_created_ns);
    // The symbols of an option chain come on top of the ids.
    let query = storage.client.query(&sql).with_setting("max_query_size", QUERY_BYTES);
    let query = query.bind(tokens(1)).bind(tokens(2)).bind(tokens(3));
    query.bind(tokens(1)).bind(tokens(2)).bind(tokens(3))
}

fn statement(
    database: &str,
    table: &str,
    ids: &str,
    (from_us, to_us): (i64, i64),
    stream_created_ns: i64,
) -> String {
    let columns = format!(
        "event_id, if(created_at >= {}, stream_seq, {NO_SEQUENCE}), toUnixTimestamp64Nano(received_at)",
        sql::millis(stream_created_ns / 1_000_000)
    );
    let of_streams = "exchange IN ? AND market_type IN ? AND symbol IN ?";
    // An event that a correction withdrew, or whose row has another time now, does not come back with another copy of its message.
    format!(
        "WITH {ids} AS wanted SELECT {columns} FROM {table} WHERE {of_streams} AND timestamp BETWEEN {} AND {} AND event_id IN (wanted) UNION ALL \
         SELECT {columns} FROM {database}.copied_events WHERE {of_streams} AND found IN ('{WITHDRAWN}', '{WITHDRAWN_ADDITION}', '{MOVED}') AND event_id IN (wanted)",
        sql::micros(from_us),
        sql::micros(to_us)
    )
}

/// Tells which events must be looked up before they are inserted.
#[derive(Debug, Default)]
pub struct DuplicateRisk {
    /// Highest stored sequence of each table when the consumer started, 0 where there was none. Messages up to it may be stored.
    high_marks: DataTypeMap<u64>,
    /// Newest message taken, by table: each has a consumer, and they keep no order among each other.
    newest: DataTypeMap<u64>,
    /// Nobody took a message after this sequence when the consumer started; `None` once there was one.
    taken_before: Option<u64>,
}

impl DuplicateRisk {
    /// `delivered`: highest sequence that was delivered to anybody.
    pub fn begin(&mut self, delivered: u64, high_marks: DataTypeMap<u64>) {
        let stored = high_marks.values().copied().max().unwrap_or_default();
        self.taken_before = Some(stored.max(delivered));
        self.newest = DataTypeMap::default();
        self.high_marks = high_marks;
    }

    pub fn taken(&mut self, data_type: DataType, stream_seq: u64) {
        let newest = &mut self.newest[data_type];
        *newest = stream_seq.max(*newest);
    }

    /// Time of the first message that nobody took before: from it on this central has seen all.
    pub fn first_new(&mut self, delivery: Delivery) -> Option<i64> {
        let taken_before = self.taken_before?;
        if delivery.is_redelivered || delivery.stream_seq <= taken_before {
            return None;
        }
        self.taken_before = None;
        Some(delivery.published_ns)
    }

    /// True if the event, which is unknown to memory, may be stored.
    ///
    /// The message itself may have been stored: it is redelivered, below the highest stored sequence of its table when the
    /// consumer started, or below a sequence already taken (a killed broker may have lost its delivery state). Otherwise an
    /// earlier message may have brought the event, after an edge first received it. Only memory excludes that, if it reaches back
    /// far enough: the broker knows messages by their ids, and an event may come in several, alone and among others.
    pub fn may_be_stored(
        &self,
        header: &Header<'_>,
        delivery: Delivery,
        data_type: DataType,
        complete_since_ns: i64,
    ) -> bool {
        let mark = self.newest[data_type].max(self.high_marks[data_type]);
        let was_here = delivery.is_redelivered || delivery.stream_seq <= mark;
        let known_since_ns = header
            .received_at_ns
            .min(header.timestamp_us.saturating_mul(1_000))
            .saturating_sub(time::nanos(limits::CLOCK_SKEW));
        was_here || known_since_ns <= complete_since_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    const SECOND: i64 = 1_000_000_000;

    fn marks(of: &[(DataType, u64)]) -> DataTypeMap<u64> {
        of.iter().copied().collect()
    }

    /// A longer statement is refused each time, and ingest of the stream stands still.
    #[test]
    fn the_longest_lookup_is_shorter_than_the_default_of_the_server() {
        let ids = sql::ids(std::iter::repeat_n(u128::MAX, limits::IDS_A_QUERY));
        let longest = statement(
            "marketprism_hot",
            "marketprism_hot.orderbook_deltas",
            &ids,
            (i64::MIN, i64::MAX),
            i64::MAX,
        );
        assert!(longest.len() < 250 * 1_024, "{} bytes", longest.len());
    }

    #[test]
    fn an_event_skips_the_lookup_only_if_memory_excludes_a_duplicate() {
        let mut risk = DuplicateRisk::default();
        risk.begin(45, marks(&[(DataType::Trade, 40)]));
        let now = 1_000 * SECOND;
        let delivery =
            |stream_seq, is_redelivered| Delivery { stream_seq, is_redelivered, published_ns: now };
        risk.taken(DataType::Trade, 50);
        risk.taken(DataType::Liquidation, 90);
        let ask = |seq, redelivered, known_ns, complete_since| {
            let header =
                Header { timestamp_us: known_ns / 1_000, received_at_ns: known_ns, ..fixtures::header() };
            risk.may_be_stored(&header, delivery(seq, redelivered), DataType::Trade, complete_since)
        };
        assert!(!ask(51, false, now, i64::MIN), "another table's consumer is ahead");
        assert!(ask(51, true, now, i64::MIN), "delivered again");
        assert!(ask(40, false, now, i64::MIN) && ask(50, false, now, i64::MIN), "taken before");
        assert!(ask(51, false, now, now), "memory begins with this message");
        assert!(ask(51, false, now, now - 10 * SECOND), "clocks may differ by so much");
        assert!(!ask(51, false, now, now - 11 * SECOND), "memory reaches back");
        assert!(ask(51, false, now, i64::MAX), "memory knows nothing yet");
    }

    /// After a stop of an hour only the first seconds of the backlog are looked up.
    #[test]
    fn memory_is_complete_from_the_first_message_on_that_nobody_took_before() {
        let mut risk = DuplicateRisk::default();
        let delivery =
            |stream_seq, is_redelivered, published_ns| Delivery { stream_seq, is_redelivered, published_ns };
        assert_eq!(risk.first_new(delivery(1, false, 1)), None, "no consumer yet");
        risk.begin(60, marks(&[(DataType::Trade, 40), (DataType::Liquidation, 70)]));
        assert_eq!(risk.first_new(delivery(70, false, 7)), None, "stored or delivered");
        assert_eq!(risk.first_new(delivery(71, true, 8)), None);
        assert_eq!(risk.first_new(delivery(71, false, 9)), Some(9));
        assert_eq!(risk.first_new(delivery(72, false, 10)), None, "once");
        risk.begin(80, DataTypeMap::default());
        assert_eq!(risk.first_new(delivery(80, false, 11)), None);
        assert_eq!(risk.first_new(delivery(81, false, 12)), Some(12));
    }
}
