//! Contents of hot and `copies`, grouped by window, stream and edge.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use marketprism_schema::{
    DataType, DowntimeReason, FINGERPRINT_SQL, Fingerprint, MarketType, StreamId, Table,
};
use serde::Deserialize;

use super::super::verdict::IdRange;
use super::{DowntimeSpan, EdgeStream, WindowKey, fetch, within_millis, within_nanos};
use crate::ledger::windows::{WindowGrid, WindowRange};
use crate::row::{COPIED_EVENTS, CORRECTION_SOURCE, WITHDRAWN};
use crate::sql::SUBJECT;
use crate::storage::{Storage, StorageError};
use crate::{limits, sql};

/// Multiplier of the window's number in a group's key: keeps adjacent windows far apart.
const WINDOW_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Events of a key in hot and `copies`, without the ambiguous ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HotContents {
    pub ids: Fingerprint,
    /// Those of them in `copies`.
    pub copies: u64,
}

impl HotContents {
    /// `part`: some of these events.
    pub const fn without(mut self, part: &Self) -> Self {
        self.ids.subtract(&part.ids);
        self.copies = self.copies.saturating_sub(part.copies);
        self
    }
}

/// Times of which killed edges have no audit of some streams: events received in them were published, and are compared with nothing.
#[derive(Debug, Default)]
pub struct KilledTimes(BTreeSet<(String, WindowRange)>);

impl KilledTimes {
    pub fn of(downtimes: &HashMap<EdgeStream, Vec<DowntimeSpan>>) -> Self {
        let times = downtimes.iter().flat_map(|(edge_stream, spans)| {
            let killed = spans.iter().filter(|span| !span.reason.is_on_purpose());
            killed.map(|span| (edge_stream.edge.clone(), span.range))
        });
        Self(times.collect())
    }

    /// Condition on rows; `data_type`: SQL of a row's data type. The killed times of an edge's streams differ, and may be of thousands of
    /// streams: their names stay on the server.
    pub(super) fn excluded(&self, database: &str, range: WindowRange, data_type: &str) -> String {
        let touching = self.0.iter().filter(|(_, killed)| killed.from < range.to && range.from < killed.to);
        let excluded = touching.map(|(edge, killed)| {
            let (edge, within) = (sql::quote(edge), within_nanos("received_at", *killed));
            let stream = "toString(exchange), toString(market_type), toString(symbol)";
            format!(
                " AND NOT (edge = {edge} AND {within} AND ({data_type}, {stream}) IN (SELECT toString(data_type), {stream} \
                 FROM {database}.downtimes WHERE edge = {edge} AND from_ns = {} AND to_ns = {} AND reason = '{}'))",
                killed.from,
                killed.to,
                DowntimeReason::Killed.as_str()
            )
        });
        excluded.collect()
    }
}

/// SQL: the rows that a correction added leave the comparison, since no edge published them; those that it withdrew stay in it as copies.
pub(super) fn not_added() -> String {
    format!(" AND data_source != '{CORRECTION_SOURCE}'")
}

/// SQL: copies of events that hot had until a correction withdrew them.
fn withdrawn(table: &Table) -> String {
    format!("data_type = '{}' AND found = '{WITHDRAWN}'", table.data_type)
}

/// SQL: data type of a row of `merge`.
fn type_of_table() -> String {
    let list = |of: fn(Table) -> String| Table::ALL.map(|table| format!("'{}'", of(table))).join(",");
    let (names, types) = (list(|table| table.name.to_owned()), list(|table| table.data_type.to_string()));
    format!("transform(toString(_table), [{names}], [{types}], '')")
}

/// No alias may be a column's name: ClickHouse would resolve the column to it in GROUP BY.
#[derive(Debug, clickhouse::Row, Deserialize)]
struct GroupRow {
    of_table: String,
    at_ns: i64,
    of_exchange: String,
    of_market_type: String,
    of_symbol: String,
    of_edge: String,
    are_copies: u8,
    ids: (u64, u64, u64),
}

/// Contents of tables without copies and ambiguous events in the range. One statement for all tables: its overhead exceeds the cost of
/// reading a quiet minute.
pub async fn contents(
    storage: &Storage,
    grid: WindowGrid,
    tables: &[Table],
    range: WindowRange,
    killed: &KilledTimes,
) -> Result<HashMap<WindowKey, HotContents>, StorageError> {
    if tables.is_empty() {
        return Ok(HashMap::new());
    }
    let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
    let excluded = killed.excluded(&storage.database, range, &type_of_table());
    let within = within_nanos("received_at", range) + &excluded + &not_added();
    let from = format!("merge('{}', '^({})$') WHERE {within}", storage.database, names.join("|"));
    let query = grouped("toString(any(_table))", "toUInt8(0)", &from, "sipHash64(_table)", (grid, range));
    read(storage, grid, &query).await
}

/// Groups are keyed by a hash: of dictionary columns the server hashes each dictionary value instead of each row, and a numeric key costs
/// half as much as four texts. A hash collision would make both streams a mismatch; it cannot hide one.
pub(super) fn grouped(
    name: &str,
    is_copy: &str,
    from: &str,
    key: &str,
    (grid, range): (WindowGrid, WindowRange),
) -> String {
    let length = grid.length_ns();
    let window = if range.to.saturating_sub(range.from) > length {
        format!(" + intDiv(toUnixTimestamp64Nano(received_at), {length}) * {WINDOW_FACTOR}")
    } else {
        String::new()
    };
    format!(
        "SELECT {name} AS of_table, toUnixTimestamp64Nano(any(received_at)) AS at_ns, toString(any(exchange)) AS of_exchange, \
         toString(any(market_type)) AS of_market_type, toString(any(symbol)) AS of_symbol, toString(any(edge)) AS of_edge, \
         {is_copy} AS are_copies, tuple({FINGERPRINT_SQL}) AS ids FROM {from} GROUP BY sipHash64(exchange) + \
         3 * sipHash64(market_type) + 5 * sipHash64(symbol) + 7 * sipHash64(edge) + 11 * {key}{window}"
    )
}

pub(super) async fn read(
    storage: &Storage,
    grid: WindowGrid,
    query: &str,
) -> Result<HashMap<WindowKey, HotContents>, StorageError> {
    let groups: Vec<GroupRow> = fetch(storage, query).await?;
    let mut contents: HashMap<WindowKey, HotContents> = HashMap::with_capacity(groups.len());
    for group in groups {
        let Some(table) = Table::ALL.into_iter().find(|table| table.name == group.of_table) else { continue };
        let Ok(market_type) = group.of_market_type.parse::<MarketType>() else { continue };
        let (exchange, symbol) = (group.of_exchange, group.of_symbol);
        let stream = StreamId { data_type: table.data_type, exchange, market_type, symbol };
        let key = (grid.of(group.at_ns), EdgeStream { stream, edge: group.of_edge });
        let one = contents.entry(key).or_default();
        let (count, xor, sum) = group.ids;
        one.ids.merge(&Fingerprint { count, xor, sum });
        if group.are_copies == 1 {
            one.copies = one.copies.saturating_add(count);
        }
    }
    Ok(contents)
}

/// Ranges of ids by window and stream.
pub type StoredIds = HashMap<(i64, StreamId), Vec<IdRange>>;

#[derive(Debug, clickhouse::Row, Deserialize)]
struct IdRangesRow {
    window_number: i64,
    of_exchange: String,
    of_market_type: String,
    of_symbol: String,
    ranges: Vec<IdRange>,
}

/// Trade ids of a range that hot holds, of the exchanges and market types whose ids rise by one. Ranges beyond the bound count as missing:
/// a window with so many holes is never whole.
pub async fn stored_ids(
    storage: &Storage,
    grid: WindowGrid,
    range: WindowRange,
    numbered: &BTreeSet<(String, MarketType)>,
) -> Result<StoredIds, StorageError> {
    let table = Table::of(DataType::Trade);
    let pairs: Vec<String> = numbered
        .iter()
        .map(|(exchange, market_type)| format!("({},'{market_type}')", sql::quote(exchange)))
        .collect();
    if pairs.is_empty() {
        return Ok(HashMap::new());
    }
    let query = format!(
        "SELECT intDiv(toUnixTimestamp64Nano(received_at), {length}) AS window_number, toString(exchange) AS of_exchange, \
         toString(market_type) AS of_market_type, toString(symbol) AS of_symbol, \
         arraySort(groupUniqArray(assumeNotNull(toInt64OrNull(trade_id)))) AS ids, \
         arraySlice(arrayMap(run -> (run[1], run[-1]), arraySplit((id, before) -> id != before + 1, ids, \
         arrayPopBack(arrayPushFront(ids, ids[1])))), 1, {most}) AS ranges \
         FROM {database}.{table} WHERE {within} AND (exchange, market_type) IN ({pairs}) AND isNotNull(toInt64OrNull(trade_id)) \
         GROUP BY window_number, exchange, market_type, symbol",
        length = grid.length_ns(),
        most = limits::STORED_ID_RANGES,
        database = storage.database,
        table = table.name,
        within = within_nanos("received_at", range),
        pairs = pairs.join(","),
    );
    let query =
        format!("SELECT window_number, of_exchange, of_market_type, of_symbol, ranges FROM ({query})");
    let rows: Vec<IdRangesRow> = fetch(storage, &query).await?;
    let of = |row: IdRangesRow| {
        let stream = StreamId {
            data_type: table.data_type,
            exchange: row.of_exchange,
            market_type: row.of_market_type.parse().ok()?,
            symbol: row.of_symbol,
        };
        Some(((row.window_number.saturating_mul(grid.length_ns()), stream), row.ranges))
    };
    Ok(rows.into_iter().filter_map(of).collect())
}

/// SQL: rows of `copies` that may have events of a range; the index knows their first and last times.
pub(super) fn rows_touching(range: WindowRange) -> String {
    format!("received_from < {} AND received_to >= {}", sql::nanos(range.to), sql::nanos(range.from))
}

pub async fn types_with_copies(
    storage: &Storage,
    range: WindowRange,
) -> Result<HashSet<String>, StorageError> {
    let touching = rows_touching(range);
    let query =
        format!("SELECT DISTINCT toString(data_type) FROM {}.copies WHERE {touching}", storage.database);
    Ok(fetch(storage, &query).await?.into_iter().collect())
}

/// Types of a range with a correction that is closed and not carried out, or was a short time ago: hot may have rows together with their replacements.
/// Its frames were received within an hour of the range.
pub async fn types_being_corrected(
    storage: &Storage,
    range: WindowRange,
) -> Result<HashSet<String>, StorageError> {
    let (database, around) = (&storage.database, limits::UNSURE_AROUND_NS);
    let query = format!(
        "SELECT DISTINCT toString(data_type) FROM {database}.corrections FINAL WHERE from_at < {} AND to_at > {} AND (data_type, \
         correction, created_at) NOT IN (SELECT data_type, correction, closed_at FROM {database}.applied_corrections WHERE \
         applied_at < now64(3, 'UTC') - toIntervalSecond({}))",
        sql::nanos(range.to.saturating_add(around)),
        sql::nanos(range.from.saturating_sub(around)),
        limits::CORRECTION_ENDED.as_secs()
    );
    Ok(fetch(storage, &query).await?.into_iter().collect())
}

/// Ambiguous ids of a range that are in hot, whoever stored them. Searched near the range first, in the whole table if some are not found.
pub async fn ambiguous_in_hot(
    storage: &Storage,
    table: &Table,
    range: WindowRange,
    wanted: &BTreeSet<u128>,
) -> Result<HashSet<u128>, StorageError> {
    let ids = ambiguous_ids("arrayJoin(unsure)", &storage.database, table.data_type, range);
    let around = limits::UNSURE_AROUND_NS;
    let near = WindowRange { from: range.from.saturating_sub(around), to: range.to.saturating_add(around) };
    let near = format!(" AND {}", within_nanos("received_at", near));
    let mut found = HashSet::new();
    for place in [near.as_str(), ""] {
        let database = &storage.database;
        let query = format!(
            "SELECT event_id FROM {database}.{} WHERE event_id IN ({ids}){place} UNION ALL SELECT event_id FROM \
             {database}.{COPIED_EVENTS} WHERE {} AND event_id IN ({ids}){place}",
            table.name,
            withdrawn(table)
        );
        found = fetch(storage, &query).await?.into_iter().collect();
        if wanted.iter().all(|id| found.contains(id)) {
            break;
        }
    }
    Ok(found)
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct MissingDuplicates {
    window_ms: i64,
    #[serde(deserialize_with = "sql::known_stream")]
    stream: Option<StreamId>,
    of_edge: String,
    events: u64,
}

/// Number of events per key that the broker called duplicates and hot does not have, whoever stored them: another message took their ids.
/// Searched in wider and wider ranges while some are not found; the ids stay on the server.
pub async fn duplicates_missing(
    storage: &Storage,
    grid: WindowGrid,
    table: &Table,
    range: WindowRange,
) -> Result<HashMap<WindowKey, usize>, StorageError> {
    let database = &storage.database;
    let audits = format!(
        "FROM {database}.audits FINAL WHERE {} AND data_type = '{}' AND notEmpty(duplicate_ids)",
        within_millis("window_start", range),
        table.data_type
    );
    let mut missing = HashMap::new();
    for around in [Some(limits::DUPLICATES_AROUND_NS), Some(limits::UNSURE_AROUND_NS), None] {
        let place = around.map(|around| {
            let near =
                WindowRange { from: range.from.saturating_sub(around), to: range.to.saturating_add(around) };
            format!(" AND {}", within_nanos("received_at", near))
        });
        let place = place.unwrap_or_default();
        let of_audits = format!(
            "exchange IN (SELECT exchange {audits}) AND symbol IN (SELECT symbol {audits}) AND toUInt64(event_id) IN (SELECT \
             arrayJoin(duplicate_ids) {audits}){place}"
        );
        let found = format!(
            "SELECT toUInt64(event_id) FROM {database}.{} WHERE {of_audits} UNION ALL SELECT toUInt64(event_id) FROM \
             {database}.{COPIED_EVENTS} WHERE {} AND {of_audits}",
            table.name,
            withdrawn(table)
        );
        let query = format!(
            "SELECT toUnixTimestamp64Milli(window_start) AS window_ms, {SUBJECT} AS stream, toString(edge) AS of_edge, \
             uniqExact(half) AS events FROM (SELECT window_start, data_type, exchange, market_type, symbol, edge, \
             arrayJoin(duplicate_ids) AS half {audits}) WHERE half NOT IN ({found}) GROUP BY window_start, data_type, \
             exchange, market_type, symbol, edge"
        );
        let rows: Vec<MissingDuplicates> = fetch(storage, &query).await?;
        missing.clear();
        for MissingDuplicates { window_ms, stream, of_edge, events } in rows {
            let Some(stream) = stream else { continue };
            let window = grid.of(window_ms.saturating_mul(1_000_000));
            let key = (window, EdgeStream { stream, edge: of_edge });
            *missing.entry(key).or_default() += usize::try_from(events).unwrap_or(usize::MAX);
        }
        if missing.is_empty() {
            break;
        }
    }
    Ok(missing)
}

/// Subquery: ambiguous ids that audits of a range list.
pub(super) fn ambiguous_ids(
    columns: &str,
    database: &str,
    data_type: DataType,
    range: WindowRange,
) -> String {
    format!(
        "SELECT {columns} FROM {database}.audits FINAL WHERE {} AND data_type = '{data_type}' AND notEmpty(unsure)",
        within_millis("window_start", range)
    )
}

/// Hours since 1970 that have rows or verdicts, with the tables that have rows.
pub async fn occupied_hours(
    storage: &Storage,
    from_ns: i64,
) -> Result<BTreeMap<i64, BTreeSet<String>>, StorageError> {
    let database = &storage.database;
    let hour = |column: &str| format!("toInt64(intDiv(toUnixTimestamp({column}), 3600))");
    let of_table = |table: Table| {
        let (name, hour) = (table.name, hour("received_at"));
        let from = sql::nanos(from_ns);
        format!(
            "SELECT DISTINCT {hour} AS hour, '{name}' AS name FROM {database}.{name} WHERE received_at >= {from}"
        )
    };
    let of_verdicts = format!(
        "SELECT DISTINCT {} AS hour, '' AS name FROM {database}.verdicts WHERE window_start >= {}",
        hour("window_start"),
        sql::millis(from_ns.div_euclid(1_000_000))
    );
    let query =
        Table::ALL.map(of_table).into_iter().chain([of_verdicts]).collect::<Vec<_>>().join(" UNION ALL ");
    let mut hours: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for (hour, name) in fetch::<(i64, String)>(storage, &query).await? {
        hours.entry(hour).or_default().insert(name);
    }
    Ok(hours)
}
