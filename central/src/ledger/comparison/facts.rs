//! What the tables say of a span of windows, grouped.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::str::FromStr as _;

use marketprism_schema::{DataType, Fingerprint, GapKind, Table};
use serde::Deserialize;

use super::held::unsure_ids;
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
    gap_kinds: Vec<String>,
    gap_causes: Vec<String>,
    gap_missing: Vec<Option<u64>>,
    oldest_us: Option<i64>,
    told_ms: i64,
    run: i64,
}

impl ClaimRow {
    /// The gaps but for the two ends of the run, and the one of its beginning. That a run stopped needs no telling: what comes after it does.
    fn gaps(&self) -> (Gaps, Gaps) {
        let (mut gaps, mut start) = (Gaps::default(), Gaps::default());
        for ((kind, cause), missing) in self.gap_kinds.iter().zip(&self.gap_causes).zip(&self.gap_missing) {
            let is = |known: GapKind| kind == known.as_str();
            if is(GapKind::Stop) {
                continue;
            }
            let sum = if is(GapKind::Start) { &mut start } else { &mut gaps };
            sum.count = sum.count.saturating_add(1);
            sum.missing = sum.missing.saturating_add(missing.unwrap_or_default());
            sum.causes.push(cause.clone());
        }
        for sum in [&mut gaps, &mut start] {
            sum.causes.sort_unstable();
            sum.causes.dedup();
        }
        (gaps, start)
    }
}

/// What edges say about the windows of a span. Audits of windows shorter than ours fall into ours.
pub async fn claims(
    storage: &Storage,
    windows: Windows,
    span: Span,
) -> Result<BTreeMap<Key, Vec<Claim>>, StorageError> {
    let sql = format!(
        "SELECT toUnixTimestamp64Milli(window_start) AS window_ms, toString(data_type) AS data_type, \
         toString(exchange) AS exchange, toString(market_type) AS market_type, toString(symbol) AS symbol, \
         toString(edge) AS edge, covers_from, covers_to, stored_count, stored_xor, stored_sum, duplicates, unsure, \
         unsure_truncated, conflated, gaps.kind AS gap_kinds, gaps.cause AS gap_causes, gaps.missing AS gap_missing, \
         toUnixTimestamp64Micro(oldest_timestamp) AS oldest_us, toUnixTimestamp64Milli(created_at) AS told_ms, run \
         FROM {0}.audits FINAL WHERE {0}.audits.window_start >= {1} AND {0}.audits.window_start < {2} \
         SETTINGS max_threads = {3}",
        storage.database,
        millis(span.from),
        millis(span.to),
        limits::COMPARISON_THREADS
    );
    let mut rows: Vec<ClaimRow> =
        bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await?;
    rows.sort_unstable_by_key(|row| (row.window_ms, row.run));
    let mut claims: BTreeMap<Key, Vec<Claim>> = BTreeMap::new();
    for row in rows {
        let Ok(data_type) = DataType::from_str(&row.data_type) else { continue };
        let (gaps, start) = row.gaps();
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
            gaps,
            start,
            oldest_us: row.oldest_us,
            told_ms: row.told_ms,
        });
    }
    Ok(claims)
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
         FROM {0}.verdicts FINAL WHERE {0}.verdicts.window_start >= {1} AND {0}.verdicts.window_start < {2} \
         SETTINGS max_threads = {3}",
        storage.database,
        millis(span.from),
        millis(span.to),
        limits::COMPARISON_THREADS
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

/// A moment for comparison with `DateTime64(3)`.
pub fn millis(ns: i64) -> String {
    format!("fromUnixTimestamp64Milli(toInt64({}), 'UTC')", ns.div_euclid(1_000_000))
}

/// A moment for comparison with `DateTime64(9)`.
pub fn nanos(ns: i64) -> String {
    format!("fromUnixTimestamp64Nano(toInt64({ns}), 'UTC')")
}
