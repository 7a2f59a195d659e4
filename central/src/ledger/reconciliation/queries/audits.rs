//! Audits and feed audits.

use std::collections::BTreeMap;

use marketprism_schema::{Capability, Fingerprint, GapCause, GapKind, StreamId};
use serde::Deserialize;

use super::{EdgeStream, WindowKey, fetch, within_millis};
use crate::ledger::windows::{WindowGrid, WindowRange};
use crate::sql::{self, SUBJECT};
use crate::storage::{Storage, StorageError};

/// Audit of one window by one run of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowAudit {
    pub capability: Capability,
    /// First nanosecond covered.
    pub from: i64,
    /// Exclusive.
    pub to: i64,
    /// Events that the broker stored.
    pub stored: Fingerprint,
    /// Events that the broker dropped as duplicates.
    pub duplicates: u64,
    /// Their ids are listed.
    pub names_duplicates: bool,
    /// There are more of them than listed.
    pub are_duplicates_truncated: bool,
    /// Ids of events that the broker may have stored.
    pub ambiguous: Vec<u128>,
    /// There are more of them than listed.
    pub is_ambiguous_truncated: bool,
    pub conflated: u64,
    /// Gaps, except for the run's start and stop.
    pub gaps: GapSummary,
    /// Gap between the run's start and the stream's first frame.
    pub start: GapSummary,
    /// Time around the run's stop and start in which an operator kept the edge from collecting.
    pub pause: Option<WindowRange>,
    /// Smallest venue time of the events that the broker has, microseconds; none when unknown.
    pub oldest_us: Option<i64>,
    /// Time at which the broker received the audit, milliseconds.
    pub received_ms: i64,
}

impl WindowAudit {
    /// Covered time.
    pub const fn range(&self) -> WindowRange {
        WindowRange { from: self.from, to: self.to }
    }
}

#[cfg(test)]
impl WindowAudit {
    /// Without events, gaps and time.
    pub fn new(capability: Capability) -> Self {
        Self {
            capability,
            from: 0,
            to: 0,
            stored: Fingerprint::default(),
            duplicates: 0,
            names_duplicates: false,
            are_duplicates_truncated: false,
            ambiguous: Vec::new(),
            is_ambiguous_truncated: false,
            conflated: 0,
            gaps: GapSummary::default(),
            start: GapSummary::default(),
            pause: None,
            oldest_us: None,
            received_ms: 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GapSummary {
    pub count: u64,
    /// Missing events that the gaps name.
    pub missing: u64,
    /// Sorted, without duplicates.
    pub causes: Vec<String>,
}

impl GapSummary {
    pub fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.missing = self.missing.saturating_add(other.missing);
        self.causes.extend(other.causes.iter().cloned());
        self.causes.sort_unstable();
        self.causes.dedup();
    }
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct AuditRow {
    window_ms: i64,
    #[serde(deserialize_with = "sql::known_stream")]
    stream: Option<StreamId>,
    edge: String,
    covers_from: i64,
    covers_to: i64,
    numbering: String,
    completeness: String,
    delay_seconds: u32,
    fingerprint: (u64, u64, u64),
    duplicates: u64,
    names_duplicates: bool,
    duplicates_truncated: bool,
    unsure: Vec<u128>,
    unsure_truncated: bool,
    conflated: u64,
    gap_kinds: Vec<String>,
    gap_causes: Vec<String>,
    gap_missing: Vec<Option<u64>>,
    gap_times: Vec<(i64, i64)>,
    oldest_us: Option<i64>,
    received_ms: i64,
    run: i64,
}

impl AuditRow {
    /// Intake writes known names only.
    fn capability(&self) -> Capability {
        let unnumbered = Capability::UNNUMBERED;
        Capability {
            numbering: self.numbering.parse().unwrap_or(unnumbered.numbering),
            completeness: self.completeness.parse().unwrap_or(unnumbered.completeness),
            delay_seconds: self.delay_seconds,
        }
    }

    /// Gaps, and the gap of the run's start. A stop is ignored: the start after it reports the same gap; so is the end of a gap that was filled. Gaps of an operator are no gaps.
    fn gaps(&self) -> (GapSummary, GapSummary) {
        let (mut gaps, mut start) = (GapSummary::default(), GapSummary::default());
        for ((kind, cause), missing) in self.gap_kinds.iter().zip(&self.gap_causes).zip(&self.gap_missing) {
            let sum = match kind {
                _ if cause == GapCause::Operator.as_str() => continue,
                kind if kind == GapKind::Stop.as_str() => continue,
                kind if kind == GapKind::Backfilled.as_str() => continue,
                kind if kind == GapKind::Start.as_str() => &mut start,
                _ => &mut gaps,
            };
            let missing = missing.unwrap_or_default();
            sum.add(&GapSummary { count: 1, missing, causes: vec![cause.clone()] });
        }
        (gaps, start)
    }

    fn pause(&self) -> Option<WindowRange> {
        let is_operators = |cause: &String| cause == GapCause::Operator.as_str();
        let gaps = self.gap_causes.iter().zip(&self.gap_times).filter(|(cause, _)| is_operators(cause));
        let ranges = gaps.map(|(_, &(from, to))| WindowRange { from, to });
        ranges.reduce(|all, one| WindowRange { from: all.from.min(one.from), to: all.to.max(one.to) })
    }
}

/// Audits of a range. Audits of shorter windows belong to the window of the grid that contains them.
pub async fn audits(
    storage: &Storage,
    grid: WindowGrid,
    range: WindowRange,
) -> Result<BTreeMap<WindowKey, Vec<WindowAudit>>, StorageError> {
    let query = format!(
        "SELECT toUnixTimestamp64Milli(window_start) AS window_ms, {SUBJECT} AS stream, toString(edge) AS edge, \
         covers_from, covers_to, toString(numbering) AS numbering, toString(completeness) AS completeness, \
         delay_seconds, tuple(stored_count, stored_xor, stored_sum) AS fingerprint, duplicates, \
         notEmpty(duplicate_ids) = 1 AS names_duplicates, duplicates_truncated, unsure, \
         unsure_truncated, conflated, gaps.kind AS gap_kinds, gaps.cause AS gap_causes, gaps.missing AS gap_missing, \
         arrayZip(gaps.from_ns, gaps.to_ns) AS gap_times, \
         toUnixTimestamp64Micro(oldest_timestamp) AS oldest_us, toUnixTimestamp64Milli(created_at) AS received_ms, run \
         FROM {database}.audits FINAL WHERE {within}",
        database = storage.database,
        within = within_millis("window_start", range),
    );
    let mut rows: Vec<AuditRow> = fetch(storage, &query).await?;
    rows.sort_unstable_by_key(|row| (row.window_ms, row.run));
    let mut audits: BTreeMap<WindowKey, Vec<WindowAudit>> = BTreeMap::new();
    for row in rows {
        let ((gaps, start), pause, capability) = (row.gaps(), row.pause(), row.capability());
        let Some(stream) = row.stream else { continue };
        let window = grid.of(row.window_ms.saturating_mul(1_000_000));
        let (count, xor, sum) = row.fingerprint;
        audits.entry((window, EdgeStream { stream, edge: row.edge })).or_default().push(WindowAudit {
            capability,
            from: row.covers_from,
            to: row.covers_to,
            stored: Fingerprint { count, xor, sum },
            duplicates: row.duplicates,
            names_duplicates: row.names_duplicates,
            are_duplicates_truncated: row.duplicates_truncated,
            ambiguous: row.unsure,
            is_ambiguous_truncated: row.unsure_truncated,
            conflated: row.conflated,
            gaps,
            start,
            pause,
            oldest_us: row.oldest_us,
            received_ms: row.received_ms,
        });
    }
    Ok(audits)
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct PeriodRow {
    #[serde(deserialize_with = "sql::known_stream")]
    stream: Option<StreamId>,
    edge: String,
    first_ms: i64,
    last_ms: i64,
    numbering: String,
    completeness: String,
    delay_seconds: u32,
}

/// First and last audited window of every stream and edge, as far back as audits are kept, with the newest capability.
pub async fn reporting_periods(
    storage: &Storage,
) -> Result<Vec<(EdgeStream, [i64; 2], Capability)>, StorageError> {
    let query = format!(
        "SELECT {SUBJECT} AS stream, toString(edge) AS edge, toUnixTimestamp64Milli(min(window_start)) AS first_ms, \
         toUnixTimestamp64Milli(max(window_start)) AS last_ms, toString(argMax(numbering, window_start)) AS numbering, \
         toString(argMax(completeness, window_start)) AS completeness, argMax(delay_seconds, window_start) AS delay_seconds \
         FROM {}.audits WHERE window_start >= {} \
         GROUP BY data_type, exchange, market_type, symbol, edge",
        storage.database,
        sql::millis(0)
    );
    let rows: Vec<PeriodRow> = fetch(storage, &query).await?;
    let period = |row: PeriodRow| {
        let windows = [row.first_ms, row.last_ms].map(|ms| ms.saturating_mul(1_000_000));
        let capability = Capability {
            numbering: row.numbering.parse().ok()?,
            completeness: row.completeness.parse().ok()?,
            delay_seconds: row.delay_seconds,
        };
        Some((EdgeStream { stream: row.stream?, edge: row.edge }, windows, capability))
    };
    Ok(rows.into_iter().filter_map(period).collect())
}

#[derive(Debug, clickhouse::Row, Deserialize)]
pub struct FeedProblemRow {
    pub window_ms: i64,
    pub edge: String,
    pub exchange: String,
    pub malformed: u64,
    pub reconnects: u64,
    pub adapter_faults: u64,
    pub not_running: Option<String>,
}

pub async fn feed_problems(
    storage: &Storage,
    range: WindowRange,
) -> Result<Vec<FeedProblemRow>, StorageError> {
    let query = format!(
        "SELECT toUnixTimestamp64Milli(window_start) AS window_ms, toString(edge) AS edge, toString(exchange) AS exchange, \
         malformed, reconnects, adapter_faults, not_running FROM {}.feed_audits FINAL WHERE {} \
         AND (malformed > 0 OR reconnects > 0 OR adapter_faults > 0 OR not_running IS NOT NULL)",
        storage.database,
        within_millis("window_start", range)
    );
    fetch(storage, &query).await
}
