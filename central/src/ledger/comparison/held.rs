//! What hot holds of a span of windows, grouped by window and source.

use std::collections::{HashMap, HashSet};

use marketprism_schema::{DataType, FINGERPRINT_SQL, Fingerprint, Table};
use serde::Deserialize;

use super::facts::{Key, millis, nanos};
use crate::ledger::source::Source;
use crate::ledger::windows::{Span, Windows};
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// Times the number of a window: neighbours are far apart.
const WINDOW_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What hot holds of a key, the unsure ids left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Rows and copies.
    pub ids: Fingerprint,
    /// How many of them are copies.
    pub copies: u64,
}

/// A group. No name is a column's: in a statement's grouping a name would stand for what is selected under it.
#[derive(Debug, clickhouse::Row, Deserialize)]
struct Group {
    of_table: String,
    at_ns: i64,
    of_exchange: String,
    of_market_type: String,
    of_symbol: String,
    of_edge: String,
    are_copies: u8,
    ids: (u64, u64, u64),
}

/// What hot holds in tables of whose types there are neither copies nor unsure events in the span. One statement for all: what each one
/// costs is more than the reading of a quiet minute.
pub async fn held(
    storage: &Storage,
    windows: Windows,
    tables: &[Table],
    span: Span,
) -> Result<HashMap<Key, Held>, StorageError> {
    if tables.is_empty() {
        return Ok(HashMap::new());
    }
    let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
    let from = format!("merge('{}', '^({})$') WHERE {}", storage.database, names.join("|"), within(span));
    let sql = grouped("toString(any(_table))", "toUInt8(0)", &from, "sipHash64(_table)", (windows, span));
    read(storage, windows, &sql).await
}

/// What hot and `copies` hold of one type that has copies or unsure events in the span.
///
/// An edge counts an event and a moment once, however often its message lies in the stream: so a copy counts where hot does not have
/// the very same event id, edge and moment.
pub async fn held_with_copies(
    storage: &Storage,
    windows: Windows,
    table: &Table,
    span: Span,
    (has_copies, has_unsure): (bool, bool),
) -> Result<HashMap<Key, Held>, StorageError> {
    let (database, data_type, within) = (&storage.database, table.data_type, within(span));
    let unsure = if has_unsure {
        let length = windows.length_ns();
        let what = format!(
            "edge, arrayJoin(unsure), intDiv(toUnixTimestamp64Milli(window_start) * 1000000, {length})"
        );
        let ids = unsure_ids(&what, database, data_type, span);
        format!(" AND (edge, event_id, intDiv(toUnixTimestamp64Nano(received_at), {length})) NOT IN ({ids})")
    } else {
        String::new()
    };
    let columns = "received_at, edge, exchange, market_type, symbol, event_id";
    let hot = format!("SELECT {columns}, 0 AS is_copy FROM {database}.{} WHERE {within}{unsure}", table.name);
    let copies_within = format!("FROM {database}.copies WHERE data_type = '{data_type}' AND {within}");
    let copies = format!(
        " UNION ALL SELECT DISTINCT {columns}, 1 AS is_copy {copies_within}{unsure} AND (edge, event_id, received_at) NOT \
         IN (SELECT edge, event_id, received_at FROM {database}.{} WHERE {within} AND event_id IN (SELECT event_id \
         {copies_within}))",
        table.name
    );
    let from = format!("({hot}{})", if has_copies { copies.as_str() } else { "" });
    let (name, is_copy) = (format!("'{}'", table.name), "toUInt8(any(is_copy))");
    read(storage, windows, &grouped(&name, is_copy, &from, "is_copy", (windows, span))).await
}

/// The statement over some rows.
///
/// Groups are told apart by a hash. Of the columns with a dictionary the server hashes each value of the dictionary and not each row, and a
/// number as key costs half of what four texts do. Were two sources ever to share a number, both would be mismatches: nothing would hide.
fn grouped(name: &str, is_copy: &str, from: &str, key: &str, (windows, span): (Windows, Span)) -> String {
    let length = windows.length_ns();
    let window = if span.to.saturating_sub(span.from) > length {
        format!(" + intDiv(toUnixTimestamp64Nano(received_at), {length}) * {WINDOW_FACTOR}")
    } else {
        String::new()
    };
    format!(
        "SELECT {name} AS of_table, toUnixTimestamp64Nano(any(received_at)) AS at_ns, toString(any(exchange)) AS of_exchange, \
         toString(any(market_type)) AS of_market_type, toString(any(symbol)) AS of_symbol, toString(any(edge)) AS of_edge, \
         {is_copy} AS are_copies, tuple({FINGERPRINT_SQL}) AS ids FROM {from} GROUP BY sipHash64(exchange) + 3 * sipHash64(market_type) + 5 * sipHash64(symbol) + 7 * sipHash64(edge) + 11 * {key}{window} \
         SETTINGS max_threads = {}",
        limits::COMPARISON_THREADS
    )
}

async fn read(storage: &Storage, windows: Windows, sql: &str) -> Result<HashMap<Key, Held>, StorageError> {
    let groups: Vec<Group> =
        bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(sql).fetch_all()).await?;
    let mut held: HashMap<Key, Held> = HashMap::with_capacity(groups.len());
    for group in groups {
        let Some(table) = Table::ALL.into_iter().find(|table| table.name == group.of_table) else { continue };
        let source = Source {
            data_type: table.data_type,
            exchange: group.of_exchange,
            market_type: group.of_market_type,
            symbol: group.of_symbol,
            edge: group.of_edge,
        };
        let one = held.entry((windows.of(group.at_ns), source)).or_default();
        let (count, xor, sum) = group.ids;
        one.ids.merge(&Fingerprint { count, xor, sum });
        if group.are_copies == 1 {
            one.copies = one.copies.saturating_add(count);
        }
    }
    Ok(held)
}

/// Data types that have copies in a span.
pub async fn copied_types(storage: &Storage, span: Span) -> Result<HashSet<String>, StorageError> {
    let sql = format!(
        "SELECT DISTINCT toString(data_type) FROM {}.copies WHERE {}",
        storage.database,
        within(span)
    );
    let types: Vec<String> =
        bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await?;
    Ok(types.into_iter().collect())
}

/// The unsure events that audits of a span name, as a subquery.
pub fn unsure_ids(what: &str, database: &str, data_type: DataType, span: Span) -> String {
    format!(
        "SELECT {what} FROM {database}.audits WHERE window_start >= {} AND window_start < {} AND data_type = '{data_type}' \
         AND notEmpty(unsure)",
        millis(span.from),
        millis(span.to)
    )
}

fn within(span: Span) -> String {
    format!("received_at >= {} AND received_at < {}", nanos(span.from), nanos(span.to))
}
