//! Queries of corrections: what is pending, its events by pages, the rows of both sides.

use std::collections::BTreeSet;

use bytes::Bytes;
use marketprism_schema::{CorrectionKind, EventId};
use serde::Deserialize;

use super::copy::query_prefix;
use super::correction_plan::{CorrectionCounts, StagedEvent, StoredEvent};
use super::queries::{CopyError, Endpoint, HotCold, TableSpec};
use crate::limits;
use crate::row::{
    COPIED_EVENTS, CopiedEvent, TableRows, Target, WITHDRAWN, WITHDRAWN_ADDITION, encode_copies,
};
use crate::sql::{self, quote};
use crate::storage::{QUERY_BYTES, StorageError, bounded, limited, without_views};

/// A closed correction of one data type that is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Deserialize)]
pub struct PendingCorrection {
    pub correction: u128,
    pub data_type: String,
    pub exchange: String,
    pub edge: String,
    pub old_adapter: String,
    pub new_adapter: String,
    pub from_ns: i64,
    pub to_ns: i64,
    /// Time of the broker at which it was closed, the last time.
    pub closed_ms: i64,
    /// Number of its events.
    pub events: u64,
}

/// A pending correction, and those of some of its rows that were closed later and are carried out: it must not take them back.
#[derive(Debug, Clone)]
pub struct QueuedCorrection {
    pub pending: PendingCorrection,
    later: Vec<PendingCorrection>,
}

impl QueuedCorrection {
    /// A later correction of the same edge has compared the frame with this time.
    pub fn is_overtaken(&self, received_at_ns: i64) -> bool {
        let covers = |later: &PendingCorrection| {
            later.edge == self.pending.edge && (later.from_ns..later.to_ns).contains(&received_at_ns)
        };
        self.later.iter().any(covers)
    }

    /// Versions whose rows are right: those of later corrections for what other edges have in common with this one. Of what later ones of its
    /// own edge compared, it has no event left.
    pub fn right_adapters(&self) -> Vec<&str> {
        let others = self.later.iter().filter(|later| later.edge != self.pending.edge);
        std::iter::once(&self.pending).chain(others).map(|one| one.new_adapter.as_str()).collect()
    }
}

impl PendingCorrection {
    pub fn name(&self) -> EventId {
        EventId(self.correction)
    }

    /// A later correction of some of its rows.
    fn is_overtaken_by(&self, other: &Self) -> bool {
        (&self.exchange, &self.data_type) == (&other.exchange, &other.data_type)
            && self.closed_ms < other.closed_ms
            && self.from_ns < other.to_ns
            && other.from_ns < self.to_ns
    }

    fn condition(&self) -> String {
        let Self { correction, data_type, exchange, edge, new_adapter, .. } = self;
        format!(
            "data_type = {} AND correction = toUInt128('{correction}') AND exchange = {} AND edge = {} AND adapter = {}",
            quote(data_type),
            quote(exchange),
            quote(edge),
            quote(new_adapter)
        )
    }
}

/// Position in the events of a correction, in their order: receive time, event id, kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageCursor(Option<(i64, u128, String)>);

/// Venue times and symbols of a page: where its rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRows {
    venue_us: (i64, i64),
    symbols: BTreeSet<String>,
}

impl PageRows {
    pub fn around(&self, around_us: i64) -> Self {
        let (first, last) = self.venue_us;
        self.within((first.saturating_sub(around_us), last.saturating_add(around_us)))
    }

    pub fn within(&self, venue_us: (i64, i64)) -> Self {
        Self { venue_us, symbols: self.symbols.clone() }
    }
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct StagedRow {
    event_id: u128,
    kind: String,
    was_us: i64,
    now_us: i64,
    received_ns: i64,
    symbol: String,
    stream_seq: u64,
    payload: String,
}

/// Corrections that are closed in hot and not carried out, in the order in which they were closed. One that hot or cold has lost since, or that
/// was closed again for that, is carried out again.
pub async fn pending(pair: &HotCold) -> Result<Vec<QueuedCorrection>, CopyError> {
    let (hot, cold) = (&pair.hot, &pair.cold);
    let closed = format!(
        "SELECT correction, toString(data_type) AS data_type, toString(exchange) AS exchange, toString(edge) AS edge, \
         old_adapter, new_adapter, toInt64(toUnixTimestamp64Nano(from_at)) AS from_ns, toInt64(toUnixTimestamp64Nano(to_at)) AS to_ns, \
         toInt64(toUnixTimestamp64Milli(created_at)) AS closed_ms, changed + added + withdrawn AS events FROM {} FINAL ORDER BY \
         created_at, stream_seq, correction, data_type",
        hot.table("corrections")
    );
    let closed: Vec<PendingCorrection> = hot.ask(hot.query(&closed).fetch_all()).await?;
    if closed.is_empty() {
        return Ok(Vec::new());
    }
    Ok(not_applied(closed, [&hot.applied().await?, &cold.applied().await?]))
}

/// Correction, data type, and the closing that was carried out last.
type Applied = (u128, String, i64);

/// `applied`: in hot, and in cold.
fn not_applied(closed: Vec<PendingCorrection>, applied: [&[Applied]; 2]) -> Vec<QueuedCorrection> {
    let is_applied = |one: &PendingCorrection| {
        let of = |(id, data_type, closed_ms): &Applied| {
            (*id, data_type) == (one.correction, &one.data_type) && *closed_ms >= one.closed_ms
        };
        applied.iter().all(|side| side.iter().any(of))
    };
    let (done, pending): (Vec<_>, Vec<_>) = closed.into_iter().partition(is_applied);
    let queued = |pending: PendingCorrection| {
        let later = done.iter().filter(|other| pending.is_overtaken_by(other)).cloned().collect();
        QueuedCorrection { pending, later }
    };
    pending.into_iter().map(queued).collect()
}

impl Endpoint {
    async fn applied(&self) -> Result<Vec<Applied>, CopyError> {
        let sql = format!(
            "SELECT correction, toString(data_type), toInt64(toUnixTimestamp64Milli(max(closed_at))) FROM {} GROUP BY correction, data_type",
            self.table("applied_corrections")
        );
        self.ask(self.query(&sql).fetch_all()).await
    }

    /// Events of a correction that have arrived.
    pub async fn staged_count(&self, pending: &PendingCorrection) -> Result<u64, CopyError> {
        let sql = format!(
            "SELECT count() FROM {} FINAL WHERE {}",
            self.table("corrected_events"),
            pending.condition()
        );
        self.ask(self.query(&sql).fetch_one::<u64>()).await
    }

    /// The next events of a correction; none at the end.
    pub async fn staged(
        &self,
        pending: &PendingCorrection,
        cursor: &mut PageCursor,
    ) -> Result<(Vec<StagedEvent>, Option<PageRows>), CopyError> {
        let after = cursor.0.as_ref().map_or_else(String::new, |(received_ns, id, kind)| {
            let received = sql::nanos(*received_ns);
            format!(" AND (received_at, event_id, kind) > ({received}, toUInt128('{id}'), {})", quote(kind))
        });
        let sql = format!(
            "SELECT event_id, toString(kind) AS kind, toInt64(toUnixTimestamp64Micro(was_at)) AS was_us, \
             toInt64(toUnixTimestamp64Micro(timestamp)) AS now_us, toInt64(toUnixTimestamp64Nano(received_at)) AS received_ns, \
             toString(symbol) AS symbol, stream_seq, payload FROM {} FINAL WHERE {}{after} \
             ORDER BY received_at, event_id, kind LIMIT {}",
            self.table("corrected_events"),
            pending.condition(),
            if pending.data_type.starts_with("orderbook") {
                limits::CORRECTED_BOOKS
            } else {
                limits::IDS_A_QUERY
            }
        );
        let rows: Vec<StagedRow> = self.ask(self.query(&sql).fetch_all()).await?;
        let Some(last) = rows.last() else { return Ok((Vec::new(), None)) };
        cursor.0 = Some((last.received_ns, last.event_id, last.kind.clone()));
        let times = || rows.iter().flat_map(|row| [row.was_us, row.now_us]);
        let venue_us = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        let symbols = rows.iter().map(|row| row.symbol.clone()).collect();
        let place = PageRows { venue_us, symbols };
        let staged = rows.into_iter().filter_map(|row| {
            let StagedRow { stream_seq, payload, now_us: timestamp_us, received_ns: received_at_ns, .. } =
                row;
            let (event_id, kind) = (EventId(row.event_id), row.kind.parse::<CorrectionKind>().ok()?);
            Some(StagedEvent { event_id, kind, timestamp_us, received_at_ns, stream_seq, payload })
        });
        Ok((staged.collect(), Some(place)))
    }

    /// Rows of events, by whichever version.
    pub async fn stored_events(
        &self,
        table: &TableSpec,
        pending: &PendingCorrection,
        ids: &[u128],
        place: &PageRows,
    ) -> Result<Vec<StoredEvent>, CopyError> {
        let sql = format!(
            "SELECT event_id, toInt64(toUnixTimestamp64Milli(created_at)) AS created_ms, stream_seq, \
             toInt64(toUnixTimestamp64Nano(received_at)) AS received_at_ns, toString(edge) AS edge, toString(region) AS region, \
             toString(adapter) AS adapter, toString(data_source) AS data_source, toString(symbol) AS symbol, \
             toString(market_type) AS market_type, \
             toInt64(toUnixTimestamp64Micro(timestamp)) AS timestamp_us FROM {} WHERE {}",
            self.table(table.name),
            rows_of(pending, place, ids)
        );
        let query = self.query(&sql).with_setting("max_query_size", QUERY_BYTES);
        self.ask(query.fetch_all()).await
    }

    /// Deletes the rows of events by versions that are not right; returns when no query of an active replica sees them.
    pub async fn delete_other_versions(
        &self,
        table: &TableSpec,
        correction: &QueuedCorrection,
        ids: &[u128],
        place: &PageRows,
    ) -> Result<(), CopyError> {
        let right: Vec<String> = correction.right_adapters().into_iter().map(quote).collect();
        let sql = format!(
            "DELETE FROM {} WHERE {} AND adapter NOT IN ({})",
            self.table(table.name),
            rows_of(&correction.pending, place, ids),
            right.join(", ")
        );
        self.delete_with(self.query(&sql)).await
    }

    pub fn block(&self, rows: &TableRows) -> Result<Bytes, CopyError> {
        let block = rows.whole_block().map_err(|error| self.failed(StorageError::Rows(error)))?;
        Ok(Bytes::from(block))
    }

    /// Inserts a block: a repetition with the same token has no effect.
    pub async fn insert_block(&self, table: &str, block: Bytes, token: &str) -> Result<(), CopyError> {
        let sending = async {
            let insert = limited(&self.storage.client, self.limit)
                .insert_formatted_with(format!("INSERT INTO {} FORMAT Native", self.table(table)));
            let settings = self.deduplication.once(token);
            // Whoever carries out a correction reads the rows again.
            let mut insert = settings
                .into_iter()
                .chain(without_views())
                .fold(insert, |insert, (name, value)| insert.with_setting(name, value))
                .with_setting(
                    "query_id",
                    format!("{}{:016x}", query_prefix(&self.storage.database, None), rand::random::<u64>()),
                )
                .with_setting("async_insert", "0")
                .with_setting("input_format_skip_unknown_fields", "0")
                .with_setting("wait_end_of_query", "1")
                .with_setting("max_partitions_per_insert_block", "0");
            insert.send(block).await?;
            insert.end().await
        };
        bounded(self.limit, sending).await.map_err(|error| self.failed(error))
    }

    /// Records rows in `copies` that are deleted without a replacement, or whose replacement has another time. Repeating it gives the same rows.
    pub async fn insert_marks(
        &self,
        pending: &PendingCorrection,
        stream: &str,
        marked: &[(&'static str, StoredEvent)],
        now_ms: i64,
    ) -> Result<(), CopyError> {
        let mut rows = TableRows::new(Target::Copies.columns());
        for (found, marked) in marked {
            let StoredEvent { market_type, symbol, edge, .. } = marked;
            let texts = [&pending.data_type, &pending.exchange, market_type, symbol, edge, *found];
            let event = CopiedEvent {
                event_id: EventId(marked.event_id),
                received_at_ns: marked.received_at_ns,
                stream_seq: marked.stream_seq,
            };
            encode_copies(texts, stream, &[event], &mut rows);
        }
        rows.set_created_at(0, now_ms);
        let block = self.block(&rows)?;
        let token = format!("marks:{}:{now_ms}:{:016x}", pending.name(), xxhash_rust::xxh3::xxh3_64(&block));
        self.insert_block(Target::Copies.table(), block, &token).await
    }

    /// Number of these events that were withdrawn before.
    pub async fn withdrawn_before(
        &self,
        pending: &PendingCorrection,
        ids: &[u128],
    ) -> Result<u64, CopyError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let sql = format!(
            "SELECT uniqExact(event_id) FROM {} WHERE data_type = {} AND exchange = {} AND found IN ('{WITHDRAWN}', \
             '{WITHDRAWN_ADDITION}') AND event_id IN ({})",
            self.table(COPIED_EVENTS),
            quote(&pending.data_type),
            quote(&pending.exchange),
            sql::ids(ids.iter().copied())
        );
        let query = self.query(&sql).with_setting("max_query_size", QUERY_BYTES);
        self.ask(query.fetch_one::<u64>()).await
    }

    pub async fn log_applied(
        &self,
        pending: &PendingCorrection,
        counts: CorrectionCounts,
        holder: &str,
    ) -> Result<(), CopyError> {
        let CorrectionCounts { replaced, added, withdrawn, absent } = counts;
        let PendingCorrection { correction, data_type, exchange, edge, old_adapter, new_adapter, .. } =
            pending;
        let closed = sql::millis(pending.closed_ms);
        let sql = format!(
            "INSERT INTO {} (data_type, correction, exchange, edge, from_at, to_at, old_adapter, new_adapter, closed_at, replaced, added, \
             withdrawn, absent, holder, applied_at) SELECT {}, toUInt128('{correction}'), {}, {}, {}, {}, {}, {}, {closed}, {replaced}, \
             {added}, {withdrawn}, {absent}, {}, greatest(now64(3, 'UTC'), {closed})",
            self.table("applied_corrections"),
            quote(data_type),
            quote(exchange),
            quote(edge),
            sql::nanos(pending.from_ns),
            sql::nanos(pending.to_ns),
            quote(old_adapter),
            quote(new_adapter),
            quote(holder)
        );
        self.ask(self.query(&sql).execute()).await
    }
}

/// Condition on the rows of events of a page.
fn rows_of(pending: &PendingCorrection, place: &PageRows, ids: &[u128]) -> String {
    let PageRows { venue_us, symbols } = place;
    let symbols: Vec<String> = symbols.iter().map(|symbol| quote(symbol)).collect();
    format!(
        "exchange = {} AND symbol IN ({}) AND timestamp BETWEEN {} AND {} AND event_id IN ({})",
        quote(&pending.exchange),
        symbols.join(", "),
        sql::micros(venue_us.0),
        sql::micros(venue_us.1),
        sql::ids(ids.iter().copied())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_correction_overtakes_and_one_that_is_closed_again_is_carried_out_again() {
        let closed = |correction, closed_ms, from_ns, to_ns| PendingCorrection {
            correction,
            data_type: "trade".into(),
            exchange: "sim_spot".into(),
            edge: "e".into(),
            old_adapter: "a@1".into(),
            new_adapter: "a@2".into(),
            from_ns,
            to_ns,
            closed_ms,
            events: 1,
        };
        let all = || vec![closed(1, 10, 0, 5), closed(2, 20, 4, 9), closed(3, 30, 5, 9)];
        let pending = |applied: &[(u128, i64)]| -> Vec<(u128, bool)> {
            let applied: Vec<_> = applied.iter().map(|(id, at)| (*id, "trade".to_owned(), *at)).collect();
            let pending = not_applied(all(), [&applied, &applied]).into_iter();
            pending.map(|one| (one.pending.correction, !one.later.is_empty())).collect()
        };
        assert_eq!(pending(&[]), [(1, false), (2, false), (3, false)]);
        assert_eq!(pending(&[(2, 20)]), [(1, true), (3, false)]);
        assert_eq!(pending(&[(2, 20), (3, 30)]), [(1, true)]);
        assert_eq!(pending(&[(3, 30)]), [(1, false), (2, true)], "its span only touches the first");
        assert_eq!(pending(&[(1, 9), (2, 20), (3, 30)]), [(1, true)], "closed again, and overtaken");
        assert_eq!(pending(&[(3, 29)]), [(1, false), (2, false), (3, false)], "closed again");
        let done: [Applied; 1] = [(1, "trade".to_owned(), 15)];
        for sides in [[&done[..], &[]], [&[], &done[..]]] {
            assert_eq!(not_applied(all(), sides).len(), 3, "one side was put back");
        }
        let mut first = not_applied(all(), [&[(2, "trade".to_owned(), 20)][..]; 2]).remove(0);
        assert_eq!([3, 4, 8, 9].map(|at| first.is_overtaken(at)), [false, true, true, false]);
        first.later[0].new_adapter = "a@3".into();
        assert_eq!(
            first.right_adapters(),
            ["a@2"],
            "rows before the span of the later one may be by its version"
        );
        first.later[0].edge = "other".into();
        assert!(!first.is_overtaken(4), "another edge has frames of its own");
        assert_eq!(first.right_adapters(), ["a@2", "a@3"]);
    }
}
