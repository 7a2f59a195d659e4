//! Queries of corrections: what is pending, its events by pages, the rows of both sides.

use bytes::Bytes;
use marketprism_schema::{CorrectionKind, EventId};
use serde::Deserialize;

use super::copy::query_prefix;
use super::correction_plan::{CorrectionCounts, StagedEvent, StoredEvent};
use super::queries::{CopyError, Endpoint, HotCold, TableSpec, limited};
use crate::limits;
use crate::row::{COPY, Column, WITHDRAWN, binary, native_block};
use crate::sql::{self, quote};
use crate::storage::{StorageError, bounded};

/// A closed correction of one data type that is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Deserialize)]
pub struct PendingCorrection {
    pub correction: u128,
    pub data_type: String,
    pub exchange: String,
    pub new_adapter: String,
    /// Number of its events.
    pub events: u64,
}

impl PendingCorrection {
    pub fn name(&self) -> EventId {
        EventId(self.correction)
    }

    fn condition(&self) -> String {
        let Self { correction, data_type, .. } = self;
        format!("data_type = {} AND correction = toUInt128('{correction}')", quote(data_type))
    }
}

/// Position in the events of a correction, in their order: receive time, event id, kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageCursor(Option<(i64, u128, String)>);

/// Receive times and venue times of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageTimes {
    received_ns: (i64, i64),
    venue_us: (i64, i64),
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct StagedRow {
    event_id: u128,
    kind: String,
    was_us: i64,
    received_ns: i64,
    stream_seq: u64,
    payload: String,
}

/// Corrections that are closed in hot and not carried out in cold, in the order in which they were closed.
pub async fn pending(pair: &HotCold) -> Result<Vec<PendingCorrection>, CopyError> {
    let (hot, cold) = (&pair.hot, &pair.cold);
    let closed = format!(
        "SELECT correction, toString(data_type) AS data_type, toString(exchange) AS exchange, new_adapter, \
         changed + added + withdrawn AS events FROM {} FINAL ORDER BY created_at, stream_seq, correction, data_type",
        hot.table("corrections")
    );
    let mut closed: Vec<PendingCorrection> = hot.ask(hot.query(&closed).fetch_all()).await?;
    if closed.is_empty() {
        return Ok(closed);
    }
    let applied =
        format!("SELECT DISTINCT correction, toString(data_type) FROM {}", cold.table("applied_corrections"));
    let applied: Vec<(u128, String)> = cold.ask(cold.query(&applied).fetch_all()).await?;
    closed.retain(|one| !applied.iter().any(|(id, of)| (*id, of) == (one.correction, &one.data_type)));
    Ok(closed)
}

impl Endpoint {
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
    ) -> Result<(Vec<StagedEvent>, Option<PageTimes>), CopyError> {
        let after = cursor.0.as_ref().map_or_else(String::new, |(received_ns, id, kind)| {
            let received = sql::nanos(*received_ns);
            format!(" AND (received_at, event_id, kind) > ({received}, toUInt128('{id}'), {})", quote(kind))
        });
        let sql = format!(
            "SELECT event_id, toString(kind) AS kind, toInt64(toUnixTimestamp64Micro(was_at)) AS was_us, \
             toInt64(toUnixTimestamp64Nano(received_at)) AS received_ns, stream_seq, payload FROM {} FINAL WHERE {}{after} \
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
        let range = |of: fn(&StagedRow) -> i64| {
            let all = rows.iter().map(of);
            (all.clone().min().unwrap_or_default(), all.max().unwrap_or_default())
        };
        let times =
            PageTimes { received_ns: range(|row| row.received_ns), venue_us: range(|row| row.was_us) };
        let staged = rows.into_iter().filter_map(|row| {
            let StagedRow { event_id, stream_seq, payload, .. } = row;
            let kind = row.kind.parse::<CorrectionKind>().ok()?;
            Some(StagedEvent { event_id: EventId(event_id), kind, stream_seq, payload })
        });
        Ok((staged.collect(), Some(times)))
    }

    /// Rows of the events of a page, by whichever version. Only their receive times and venue times near those of the page are searched.
    pub async fn stored_events(
        &self,
        table: &TableSpec,
        pending: &PendingCorrection,
        page: &[StagedEvent],
        times: PageTimes,
    ) -> Result<Vec<StoredEvent>, CopyError> {
        let sql = format!(
            "SELECT event_id, toInt64(toUnixTimestamp64Milli(created_at)) AS created_ms, stream_seq, \
             toInt64(toUnixTimestamp64Nano(received_at)) AS received_at_ns, toString(edge) AS edge, toString(region) AS region, \
             toString(adapter) AS adapter, toString(data_source) AS data_source, toString(symbol) AS symbol, \
             toString(market_type) AS market_type FROM {} WHERE {}",
            self.table(table.name),
            rows_of(pending, times, page.iter().map(|one| one.event_id.0))
        );
        let query = self.query(&sql).with_setting("max_query_size", super::queries::QUERY_BYTES);
        self.ask(query.fetch_all()).await
    }

    /// Deletes the rows of events by other versions; returns when no query sees them.
    pub async fn delete_other_versions(
        &self,
        table: &TableSpec,
        pending: &PendingCorrection,
        ids: &[u128],
        times: PageTimes,
    ) -> Result<(), CopyError> {
        if ids.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "DELETE FROM {} WHERE {} AND adapter != {}",
            self.table(table.name),
            rows_of(pending, times, ids.iter().copied()),
            quote(&pending.new_adapter)
        );
        let query = self.query(&sql).with_setting("lightweight_deletes_sync", "2");
        self.ask(query.with_setting("max_query_size", super::queries::QUERY_BYTES).execute()).await
    }

    /// Inserts rows as one block: a repetition with the same token has no effect.
    pub async fn insert_block(
        &self,
        table: &str,
        columns: &[Column],
        rows: &[u8],
        token: &str,
    ) -> Result<(), CopyError> {
        let block = native_block(columns, rows).map_err(|error| self.failed(StorageError::Rows(error)))?;
        let sending = async {
            let mut insert = limited(&self.storage.client, self.limit)
                .insert_formatted_with(format!("INSERT INTO {} FORMAT Native", self.table(table)))
                .with_setting(
                    "query_id",
                    format!("{}{:016x}", query_prefix(&self.storage.database, None), rand::random::<u64>()),
                )
                .with_setting("insert_deduplicate", "1")
                .with_setting("insert_deduplication_token", token)
                .with_setting("async_insert", "0")
                .with_setting("wait_end_of_query", "1")
                .with_setting("max_partitions_per_insert_block", "0");
            insert.send(Bytes::from(block)).await?;
            insert.end().await
        };
        bounded(self.limit, sending).await.map_err(|error| self.failed(error))
    }

    /// Records in `copies` the messages whose rows are deleted without a replacement. Repeating it gives the same rows.
    pub async fn insert_withdrawn(
        &self,
        pending: &PendingCorrection,
        stream: &str,
        rows: &[StoredEvent],
        now_ms: i64,
    ) -> Result<(), CopyError> {
        let mut out = Vec::new();
        for row in rows {
            for text in [&pending.data_type, &pending.exchange, &row.market_type, &row.symbol] {
                binary::text(&mut out, text);
            }
            binary::uint128(&mut out, row.event_id);
            binary::text(&mut out, &row.edge);
            binary::int64(&mut out, row.received_at_ns);
            binary::text(&mut out, stream);
            binary::uint64(&mut out, row.stream_seq);
            binary::text(&mut out, WITHDRAWN);
            binary::int64(&mut out, now_ms);
        }
        // Without a token of its own an equal repetition would be dropped by its content: it is one in any case.
        let token =
            format!("withdrawn:{}:{now_ms}:{:016x}", pending.name(), xxhash_rust::xxh3::xxh3_64(&out));
        self.insert_block("copies", COPY, &out, &token).await
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
            "SELECT uniqExact(event_id) FROM {} WHERE data_type = {} AND exchange = {} AND found = '{WITHDRAWN}' AND event_id \
             IN ({})",
            self.table("copies"),
            quote(&pending.data_type),
            quote(&pending.exchange),
            sql::ids(ids.iter().copied())
        );
        let query = self.query(&sql).with_setting("max_query_size", super::queries::QUERY_BYTES);
        self.ask(query.fetch_one::<u64>()).await
    }

    pub async fn log_applied(
        &self,
        pending: &PendingCorrection,
        counts: CorrectionCounts,
        holder: &str,
    ) -> Result<(), CopyError> {
        let CorrectionCounts { replaced, added, withdrawn, absent } = counts;
        let sql = format!(
            "INSERT INTO {} (data_type, correction, replaced, added, withdrawn, absent, holder, applied_at) SELECT {}, \
             toUInt128('{}'), {replaced}, {added}, {withdrawn}, {absent}, {}, now64(3, 'UTC')",
            self.table("applied_corrections"),
            quote(&pending.data_type),
            pending.correction,
            quote(holder)
        );
        self.ask(self.query(&sql).execute()).await
    }
}

/// Condition on the rows of events of a page.
fn rows_of(pending: &PendingCorrection, times: PageTimes, ids: impl Iterator<Item = u128>) -> String {
    let PageTimes { received_ns, venue_us } = times;
    let near = limits::CORRECTION_AROUND_NS;
    format!(
        "exchange = {} AND received_at BETWEEN {} AND {} AND timestamp BETWEEN {} AND {} AND event_id IN ({})",
        quote(&pending.exchange),
        sql::nanos(received_ns.0.saturating_sub(near)),
        sql::nanos(received_ns.1.saturating_add(near)),
        sql::micros(venue_us.0.saturating_sub(limits::CORRECTION_VENUE_US)),
        sql::micros(venue_us.1.saturating_add(limits::CORRECTION_VENUE_US)),
        sql::ids(ids)
    )
}
