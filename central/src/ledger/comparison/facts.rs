//! What the tables say of a span of windows, grouped.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::str::FromStr as _;

use marketprism_schema::{DataType, FINGERPRINT_SQL, Fingerprint, Table};
use serde::Deserialize;

use super::verdict::Verdict;
use crate::ledger::source::Source;
use crate::ledger::state::State;
use crate::ledger::windows::{Span, Windows};
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// What is judged: a source, and the first nanosecond of the window.
pub type Key = (i64, Source);

/// What one run of an edge says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claim {
    /// First nanosecond that it vouches for.
    pub from: i64,
    /// The one after the last.
    pub to: i64,
    /// What the broker stored.
    pub stored: Fingerprint,
    /// What the broker dropped as a copy.
    pub duplicates: u64,
    /// What the broker may have stored.
    pub unsure: Vec<u128>,
    /// There are more of them.
    pub unsure_truncated: bool,
    /// Books replaced by newer ones.
    pub conflated: u64,
    /// Gaps that it names, the two ends of its run apart.
    pub gaps: Gaps,
    /// The gap between its beginning and a stream's first frame.
    pub start: Gaps,
    /// Smallest venue time among the stored, microseconds; nothing when it is not known.
    pub oldest_us: Option<i64>,
    /// When the broker received it, milliseconds.
    pub told_ms: i64,
}

/// Gaps, summed up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// Events that they name as missing.
    pub missing: u64,
    /// Their causes.
    pub causes: Vec<String>,
}

/// What hot holds of a key, the unsure ids left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Rows and copies.
    pub ids: Fingerprint,
    /// How many of them are copies.
    pub copies: u64,
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct ClaimRow {
    window_ms: i64,
    data_type: String,
    exchange: String,
    market_type: String,
    symbol: String,
    edge: String,
    covers_from: i64,
    covers_to: i64,
    stored_count: u64,
    stored_xor: u64,
    stored_sum: u64,
    duplicates: u64,
    unsure: Vec<u128>,
    unsure_truncated: bool,
    conflated: u64,
    gap_count: u64,
    gap_missing: u64,
    gap_causes: Vec<String>,
    start_count: u64,
    start_missing: u64,
    start_causes: Vec<String>,
    oldest_us: Option<i64>,
    told_ms: i64,
}

/// What edges say about the windows of a span. Audits of windows shorter than ours fall into ours.
pub async fn claims(
    storage: &Storage,
    windows: Windows,
    span: Span,
) -> Result<BTreeMap<Key, Vec<Claim>>, StorageError> {
    // That a run stopped needs no telling: what comes after it does.
    let gap_sums = sums("gap", "gap.kind NOT IN ('start', 'stop')");
    let start_sums = sums("start", "gap.kind = 'start'");
    let sql = format!(
        "SELECT toUnixTimestamp64Milli(window_start) AS window_ms, toString(data_type) AS data_type, \
         toString(exchange) AS exchange, toString(market_type) AS market_type, toString(symbol) AS symbol, \
         toString(edge) AS edge, covers_from, covers_to, stored_count, stored_xor, stored_sum, duplicates, unsure, \
         unsure_truncated, conflated, {gap_sums}, {start_sums}, \
         if(isNull(oldest_timestamp), NULL, toUnixTimestamp64Micro(assumeNotNull(oldest_timestamp))) AS oldest_us, \
         toUnixTimestamp64Milli(created_at) AS told_ms \
         FROM {0}.audits FINAL WHERE {0}.audits.window_start >= {1} AND {0}.audits.window_start < {2} \
         ORDER BY window_ms, run",
        storage.database,
        millis(span.from),
        millis(span.to)
    );
    let rows: Vec<ClaimRow> =
        bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await?;
    let mut claims: BTreeMap<Key, Vec<Claim>> = BTreeMap::new();
    for row in rows {
        let Ok(data_type) = DataType::from_str(&row.data_type) else { continue };
        let ClaimRow { exchange, market_type, symbol, edge, .. } = row;
        let source = Source { data_type, exchange, market_type, symbol, edge };
        let window = windows.of(row.window_ms.saturating_mul(1_000_000));
        claims.entry((window, source)).or_default().push(Claim {
            from: row.covers_from,
            to: row.covers_to,
            stored: Fingerprint { count: row.stored_count, xor: row.stored_xor, sum: row.stored_sum },
            duplicates: row.duplicates,
            unsure: row.unsure,
            unsure_truncated: row.unsure_truncated,
            conflated: row.conflated,
            gaps: Gaps { count: row.gap_count, missing: row.gap_missing, causes: row.gap_causes },
            start: Gaps { count: row.start_count, missing: row.start_missing, causes: row.start_causes },
            oldest_us: row.oldest_us,
            told_ms: row.told_ms,
        });
    }
    Ok(claims)
}

/// Window, exchange, market type, symbol, edge, whether it is a copy, and the fingerprint.
type HeldRow = (i64, String, String, String, String, u8, u64, u64, u64);

/// What hot holds of one data type in a span, one statement. `copies` and `unsure` say whether there is anything to look at; both are rare.
///
/// An edge counts an event and a moment once, however often its message lies in the stream: so a copy counts where hot does not have
/// the very same event id, edge and moment.
pub async fn held(
    storage: &Storage,
    windows: Windows,
    table: &Table,
    span: Span,
    (has_copies, has_unsure): (bool, bool),
) -> Result<HashMap<Key, Held>, StorageError> {
    let (database, data_type) = (&storage.database, table.data_type);
    let within = format!("received_at >= {} AND received_at < {}", nanos(span.from), nanos(span.to));
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
    let sql = format!(
        "SELECT intDiv(toUnixTimestamp64Nano(received_at), {0}) * {0} AS window, toString(exchange) AS exchange, \
         toString(market_type) AS market_type, toString(symbol) AS symbol, toString(edge) AS edge, \
         toUInt8(is_copy) AS is_copy, {FINGERPRINT_SQL} FROM ({hot}{1}) \
         GROUP BY window, exchange, market_type, symbol, edge, is_copy SETTINGS max_threads = {2}",
        windows.length_ns(),
        if has_copies { copies.as_str() } else { "" },
        limits::COMPARISON_THREADS,
    );
    let rows: Vec<HeldRow> =
        bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await?;
    let mut held: HashMap<Key, Held> = HashMap::with_capacity(rows.len());
    for (window, exchange, market_type, symbol, edge, is_copy, count, xor, sum) in rows {
        let source = Source { data_type, exchange, market_type, symbol, edge };
        let one = held.entry((window, source)).or_default();
        one.ids.merge(&Fingerprint { count, xor, sum });
        if is_copy == 1 {
            one.copies = one.copies.saturating_add(count);
        }
    }
    Ok(held)
}

/// Data types that have copies in a span.
pub async fn copied_types(storage: &Storage, span: Span) -> Result<HashSet<String>, StorageError> {
    let sql = format!(
        "SELECT DISTINCT toString(data_type) FROM {}.copies WHERE received_at >= {} AND received_at < {}",
        storage.database,
        nanos(span.from),
        nanos(span.to)
    );
    let types: Vec<String> =
        bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await?;
    Ok(types.into_iter().collect())
}

/// Which unsure ids of a span are in hot, as anybody's row. Looked for around the span first, in the whole table where that fails.
pub async fn unsure_in_hot(
    storage: &Storage,
    table: &Table,
    span: Span,
    wanted: &BTreeSet<u128>,
) -> Result<HashSet<u128>, StorageError> {
    let ids = unsure_ids("arrayJoin(unsure)", &storage.database, table.data_type, span);
    let around = limits::UNSURE_AROUND_NS;
    let near = format!(
        " AND received_at >= {} AND received_at < {}",
        nanos(span.from.saturating_sub(around)),
        nanos(span.to.saturating_add(around))
    );
    let mut found = HashSet::new();
    for place in [near.as_str(), ""] {
        let sql = format!(
            "SELECT DISTINCT event_id FROM {}.{} WHERE event_id IN ({ids}){place} SETTINGS max_threads = {}",
            storage.database,
            table.name,
            limits::COMPARISON_THREADS
        );
        found = bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all::<u128>())
            .await?
            .into_iter()
            .collect();
        if wanted.iter().all(|id| found.contains(id)) {
            break;
        }
    }
    Ok(found)
}

fn unsure_ids(what: &str, database: &str, data_type: DataType, span: Span) -> String {
    format!(
        "SELECT {what} FROM {database}.audits WHERE window_start >= {} AND window_start < {} AND data_type = '{data_type}' \
         AND notEmpty(unsure)",
        millis(span.from),
        millis(span.to)
    )
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct VerdictRow {
    window_ms: i64,
    data_type: String,
    exchange: String,
    market_type: String,
    symbol: String,
    edge: String,
    state: String,
    reason: String,
    expected: u64,
    found: u64,
    duplicates: u64,
    conflated: u64,
    gaps: u32,
    missing: u64,
    causes: Vec<String>,
}

/// The verdicts of a span as they stand.
pub async fn verdicts(storage: &Storage, span: Span) -> Result<HashMap<Key, Verdict>, StorageError> {
    let sql = format!(
        "SELECT toUnixTimestamp64Milli(window_start) AS window_ms, toString(data_type) AS data_type, \
         toString(exchange) AS exchange, toString(market_type) AS market_type, toString(symbol) AS symbol, \
         toString(edge) AS edge, toString(state) AS state, reason, expected, found, duplicates, conflated, gaps, missing, \
         arrayMap(cause -> toString(cause), causes) AS causes \
         FROM {0}.verdicts FINAL WHERE {0}.verdicts.window_start >= {1} AND {0}.verdicts.window_start < {2}",
        storage.database,
        millis(span.from),
        millis(span.to)
    );
    let rows: Vec<VerdictRow> =
        bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await?;
    let verdict = |row: VerdictRow| {
        let data_type = DataType::from_str(&row.data_type).ok()?;
        let VerdictRow { exchange, market_type, symbol, edge, .. } = row;
        let source = Source { data_type, exchange, market_type, symbol, edge };
        let verdict = Verdict {
            state: State::named(&row.state)?,
            reason: row.reason,
            expected: row.expected,
            found: row.found,
            duplicates: row.duplicates,
            conflated: row.conflated,
            gaps: row.gaps,
            missing: row.missing,
            causes: row.causes,
        };
        Some(((row.window_ms.saturating_mul(1_000_000), source), verdict))
    };
    Ok(rows.into_iter().filter_map(verdict).collect())
}

/// Number, missing events and causes of the gaps that meet a condition.
fn sums(name: &str, condition: &str) -> String {
    let gaps = format!("arrayFilter(gap -> {condition}, gaps)");
    format!(
        "length({gaps}) AS {name}_count, arraySum(arrayMap(gap -> ifNull(gap.missing, toUInt64(0)), {gaps})) AS \
         {name}_missing, arraySort(arrayDistinct(arrayMap(gap -> gap.cause, {gaps}))) AS {name}_causes"
    )
}

/// A moment for comparison with `DateTime64(3)`.
pub fn millis(ns: i64) -> String {
    format!("fromUnixTimestamp64Milli(toInt64({}), 'UTC')", ns.div_euclid(1_000_000))
}

/// A moment for comparison with `DateTime64(9)`.
pub fn nanos(ns: i64) -> String {
    format!("fromUnixTimestamp64Nano(toInt64({ns}), 'UTC')")
}
