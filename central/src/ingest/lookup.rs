//! Lookup of events in hot before their insert: when it is needed, and the query.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use async_nats::Message;
use marketprism_schema::{Event, EventId};

use super::batch::BatchEntry;
use super::message::{self, Delivery};
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
    /// The sequence alone does not identify a message, because a recreated stream starts at 1 again.
    pub fn row_of(&self, entry: &BatchEntry) -> Option<u64> {
        let rows = self.0.get(&entry.event_id).filter(|_| entry.may_be_stored)?;
        let own = (entry.stream_seq, entry.received_at_ns);
        if rows.contains(&own) {
            return Some(entry.stream_seq);
        }
        rows.first().map(|&(stream_seq, _)| if stream_seq == entry.stream_seq { 0 } else { stream_seq })
    }
}

/// Size of a statement that the server takes.
const QUERY_BYTES: &str = "1000000";

/// The statement lists each id twice.
const EVENTS_A_LOOKUP: usize = limits::IDS_A_QUERY / 2;

/// Rows of the events of some entries in an event table.
pub async fn stored_rows(
    storage: &Storage,
    target: Target,
    entries: &[&BatchEntry],
) -> Result<StoredRows, StorageError> {
    let mut stored = StoredRows::default();
    for some in entries.chunks(EVENTS_A_LOOKUP) {
        let table = format!("{}.{}", storage.database, target.table());
        let found: Vec<(u128, u64, i64)> =
            bounded(limits::QUERY_TIMEOUT, query(storage, &table, some).fetch_all()).await?;
        stored.extend(found.into_iter().map(|(id, seq, received)| (EventId(id), seq, received)));
    }
    Ok(stored)
}

/// The time limits the parts that are read, exchange, market type and symbol the granules.
fn query(storage: &Storage, table: &str, entries: &[&BatchEntry]) -> clickhouse::query::Query {
    let tokens = |place: usize| -> Vec<&str> {
        let distinct: BTreeSet<&str> =
            entries.iter().filter_map(|entry| entry.message.subject.split('.').nth(place)).collect();
        distinct.into_iter().collect()
    };
    let from = entries.iter().map(|entry| entry.timestamp_us).min().unwrap_or_default();
    let to = entries.iter().map(|entry| entry.timestamp_us).max().unwrap_or_default();
    let ids = sql::ids(entries.iter().map(|entry| entry.event_id.0));
    let sql = statement(&storage.database, table, &ids, (from, to));
    // The symbols of an option chain come on top of the ids.
    let query = storage.client.query(&sql).with_setting("max_query_size", QUERY_BYTES);
    let query = query.bind(tokens(1)).bind(tokens(2)).bind(tokens(3));
    query.bind(tokens(1)).bind(tokens(2)).bind(tokens(3))
}

fn statement(database: &str, table: &str, ids: &str, (from_us, to_us): (i64, i64)) -> String {
    let columns = "event_id, stream_seq, toUnixTimestamp64Nano(received_at)";
    let of_streams = "exchange IN ? AND market_type IN ? AND symbol IN ?";
    // An event that a correction withdrew, or whose row has another time now, does not come back with another copy of its message.
    format!(
        "SELECT {columns} FROM {table} WHERE {of_streams} AND timestamp BETWEEN {} AND {} AND event_id IN ({ids}) UNION ALL \
         SELECT {columns} FROM {database}.copies WHERE {of_streams} AND found IN ('{WITHDRAWN}', '{WITHDRAWN_ADDITION}', '{MOVED}') AND event_id IN ({ids})",
        sql::micros(from_us),
        sql::micros(to_us)
    )
}

#[derive(Debug)]
pub struct DuplicateRisk {
    duplicate_window_ns: i64,
    /// Creation time of the stream. Before it, no broker could have recognized a duplicate.
    stream_created_ns: i64,
    /// Highest stored sequence of each table when the consumer started. Messages up to it may be stored.
    high_marks: BTreeMap<Target, u64>,
    newest: u64,
}

impl DuplicateRisk {
    pub fn new(duplicate_window: Duration) -> Self {
        Self {
            duplicate_window_ns: time::nanos(duplicate_window),
            stream_created_ns: i64::MAX,
            high_marks: BTreeMap::new(),
            newest: u64::MAX,
        }
    }

    pub fn begin(&mut self, stream_created_ns: i64, high_marks: BTreeMap<Target, u64>) {
        self.stream_created_ns = stream_created_ns;
        self.high_marks = high_marks;
        self.newest = 0;
    }

    pub fn taken(&mut self, stream_seq: u64) {
        self.newest = self.newest.max(stream_seq);
    }

    /// True if the event, which is unknown to memory, may be stored.
    ///
    /// The message itself may have been stored: it is redelivered, below the highest stored sequence of its table when the
    /// consumer started, or below a sequence already taken (a killed broker may have lost its delivery state). Otherwise an
    /// earlier message may have brought the event, after an edge first received it. Memory excludes that if it reaches back
    /// far enough; the broker excludes it by its deduplication window if the message carries the event's id.
    pub fn may_be_stored(
        &self,
        event: &Event<'_>,
        message: &Message,
        delivery: Delivery,
        target: Target,
        complete_since_ns: i64,
    ) -> bool {
        let was_here = delivery.is_redelivered
            || delivery.stream_seq <= self.newest
            || self.high_marks.get(&target).is_some_and(|&mark| delivery.stream_seq <= mark);
        if was_here {
            return true;
        }
        let header = &event.header;
        let known_since_ns = header
            .received_at_ns
            .min(header.timestamp_us.saturating_mul(1_000))
            .saturating_sub(time::nanos(limits::CLOCK_SKEW));
        if known_since_ns > complete_since_ns {
            return false;
        }
        let watched_since_ns =
            delivery.published_ns.saturating_sub(self.duplicate_window_ns).max(self.stream_created_ns);
        let broker_knows = known_since_ns >= watched_since_ns
            && EventId::parse(message::header(message.headers.as_ref(), "Nats-Msg-Id"))
                == Some(header.event_id);
        !broker_knows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, TRADE_SUBJECT};
    use marketprism_schema::{DataType, Decimal, Header};

    const SECOND: i64 = 1_000_000_000;
    const TRADES: Target = Target::Events(DataType::Trade);

    fn event(known_ns: i64) -> Event<'static> {
        let (timestamp_us, event_id) = (known_ns / 1_000, EventId(7));
        let header = Header { timestamp_us, received_at_ns: known_ns, event_id, ..fixtures::header() };
        fixtures::trade(header, Decimal::default())
    }

    fn message(id: Option<EventId>) -> Message {
        let id = id.map(|id| id.to_string());
        fixtures::message(TRADE_SUBJECT, id.as_deref().map(|id| ("Nats-Msg-Id", id)), Vec::new())
    }

    /// A longer statement is refused each time, and ingest of the stream stands still.
    #[test]
    fn the_longest_lookup_is_shorter_than_the_default_of_the_server() {
        let ids = sql::ids(std::iter::repeat_n(u128::MAX, EVENTS_A_LOOKUP));
        let longest =
            statement("marketprism_hot", "marketprism_hot.orderbook_deltas", &ids, (i64::MIN, i64::MAX));
        assert!(longest.len() < 250 * 1_024, "{} bytes", longest.len());
    }

    /// Every kind of message once, at 1,000 s, in a stream created at 500 s with a deduplication window of 120 s.
    #[test]
    fn an_event_skips_the_lookup_only_if_memory_or_the_broker_excludes_a_duplicate() {
        let mut risk = DuplicateRisk::new(Duration::from_secs(120));
        risk.begin(500 * SECOND, BTreeMap::from([(TRADES, 40)]));
        risk.taken(50);
        let now = 1_000 * SECOND;
        let ask = |seq, redelivered, known_ns, id, complete_since| {
            let delivery = Delivery { stream_seq: seq, is_redelivered: redelivered, published_ns: now };
            risk.may_be_stored(&event(known_ns), &message(id), delivery, TRADES, complete_since)
        };
        let own = Some(EventId(7));
        assert!(!ask(51, false, now, own, i64::MIN) && !ask(51, false, now, None, i64::MIN));
        assert!(ask(51, true, now, own, i64::MIN), "delivered again");
        assert!(ask(40, false, now, own, i64::MIN) && ask(50, false, now, own, i64::MIN), "taken before");
        assert!(!ask(51, false, now, own, now), "within the broker's window");
        assert!(ask(51, false, now, None, now), "without an id the broker knows nothing");
        assert!(ask(51, false, now, Some(EventId(8)), now), "nor with another one");
        assert!(ask(51, false, now - 120 * SECOND, own, now), "older than the window");
        assert!(!ask(51, false, now - 120 * SECOND, own, now - 200 * SECOND), "but memory reaches back");
        let mut young = DuplicateRisk::new(Duration::from_secs(120));
        young.begin(now - SECOND, BTreeMap::new());
        let delivery = Delivery { stream_seq: 1, is_redelivered: false, published_ns: now };
        assert!(young.may_be_stored(&event(now - 2 * SECOND), &message(own), delivery, TRADES, now));
    }
}
