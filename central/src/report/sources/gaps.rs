//! Gaps that edges saw, losses that central saw, messages that were refused.

use clickhouse::Row;
use serde::Deserialize;

use super::{Part, Sources, within};
use crate::report::bins::Bins;
use crate::report::document::{DeadLetters, Gap, Listed, Loss};
use crate::report::{Scope, Time};

/// Gaps and losses listed by name.
const LISTED_MAX: usize = 200;
/// Most groups of gaps taken in.
const GROUPS_MAX: usize = 200_000;

/// Gaps of one stream, edge, bin and cause.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct GapGroup {
    /// First part of the subject.
    pub data_type: String,
    /// Second part.
    pub exchange: String,
    /// Third part.
    pub market_type: String,
    /// Fourth part.
    pub symbol: String,
    /// The edge.
    pub edge: String,
    /// The bin, from 0.
    pub bin: u32,
    /// Whose fault.
    pub cause: String,
    /// `start`: nothing was collected before a run's first frame; `stop`: nor after its last, or the start goes on; else `gap`.
    pub sort_of: String,
    /// Begin of the first window that names one.
    pub first_ms: i64,
    /// How many.
    pub count_of: u64,
    /// Events they name as missing.
    pub missing: u64,
    /// Gaps that may hide any number of events: a broken connection of a stream without sequence.
    pub unknown: u64,
}

/// The gaps of the audits in the scope, each once: the newest version of an audit counts.
fn audits(sources: &Sources, scope: &Scope) -> String {
    let mut tables = scope.tables().map(|table| table.data_type);
    let only = match (scope.table, tables.next()) {
        (Some(_), Some(data_type)) => format!(" AND data_type = '{data_type}'"),
        _ => String::new(),
    };
    format!(
        "(SELECT * FROM {}.audits WHERE {}{only} AND notEmpty(gaps) ORDER BY created_at DESC \
         LIMIT 1 BY window_start, exchange, data_type, market_type, symbol, edge, run)",
        sources.hot.database,
        within("window_start", scope.from.0, scope.to.0),
    )
}

/// Counts the gaps.
pub async fn groups(sources: &Sources, scope: &Scope, bins: &Bins) -> Part<Vec<GapGroup>> {
    let sql = format!(
        "SELECT data_type, exchange, market_type, symbol, edge, \
         toUInt32(intDiv(toUnixTimestamp(window_start) - {start}, {bin})) AS bin, \
         toString(gap.cause) AS cause, multiIf(gap.kind = 'stop' OR (gap.kind = 'start' AND \
         run < toUnixTimestamp64Milli(window_start) * 1000000), 'stop', gap.kind = 'start', 'start', 'gap') AS sort_of, \
         toUnixTimestamp64Milli(min(window_start)) AS first_ms, count() AS count_of, \
         toUInt64(sum(ifNull(gap.missing, 0))) AS missing, countIf(isNull(gap.missing)) AS unknown \
         FROM {audits} ARRAY JOIN gaps AS gap \
         GROUP BY data_type, exchange, market_type, symbol, edge, bin, cause, sort_of LIMIT {GROUPS_MAX}",
        start = bins.start_ms / 1_000,
        bin = bins.seconds,
        audits = audits(sources, scope),
    );
    sources.rows::<GapGroup>(&sources.hot, &sql).await
}

#[derive(Debug, Row, Deserialize)]
struct NamedGap {
    data_type: String,
    exchange: String,
    market_type: String,
    symbol: String,
    edge: String,
    window_ms: i64,
    kind: String,
    cause: String,
    missing: Option<u64>,
    from_sequence: Option<i64>,
    to_sequence: Option<i64>,
    from_ns: i64,
    to_ns: i64,
    evidence: String,
}

/// Names the newest gaps.
pub async fn newest(sources: &Sources, scope: &Scope) -> Part<Vec<Gap>> {
    let sql = format!(
        "SELECT data_type, exchange, market_type, symbol, edge, toUnixTimestamp64Milli(window_start) AS window_ms, \
         toString(gap.kind) AS kind, toString(gap.cause) AS cause, gap.missing AS missing, \
         gap.from_sequence AS from_sequence, gap.to_sequence AS to_sequence, gap.from_ns AS from_ns, \
         gap.to_ns AS to_ns, leftUTF8(gap.evidence, 500) AS evidence FROM {} ARRAY JOIN gaps AS gap \
         ORDER BY window_start DESC, from_ns DESC LIMIT {LISTED_MAX}",
        audits(sources, scope)
    );
    let rows = sources.rows::<NamedGap>(&sources.hot, &sql).await?;
    let gap = |row: NamedGap| Gap {
        stream: format!("{}.{}.{}.{}", row.data_type, row.exchange, row.market_type, row.symbol),
        edge: row.edge,
        window_start: Time(row.window_ms),
        kind: row.kind,
        cause: row.cause,
        missing: row.missing,
        from_sequence: row.from_sequence,
        to_sequence: row.to_sequence,
        from: Time::some(row.from_ns / 1_000_000),
        to: Time::some(row.to_ns / 1_000_000),
        evidence: row.evidence,
    };
    Ok(rows.into_iter().map(gap).collect())
}

#[derive(Debug, Row, Deserialize)]
struct NamedLoss {
    stream: String,
    from_seq: u64,
    to_seq: u64,
    messages: u64,
    cause: String,
    evidence: String,
    seen_ms: i64,
    total: u64,
}

/// What the broker no longer had.
pub async fn losses(sources: &Sources, scope: &Scope) -> Part<Listed<Loss>> {
    let sql = format!(
        "SELECT stream, from_seq, to_seq, messages, cause, leftUTF8(evidence, 500) AS evidence, \
         toUnixTimestamp64Milli(seen_at) AS seen_ms, count() OVER () AS total FROM {}.losses FINAL WHERE {} \
         ORDER BY seen_at DESC LIMIT {LISTED_MAX}",
        sources.hot.database,
        within("seen_at", scope.from.0, scope.to.0),
    );
    let rows = sources.rows::<NamedLoss>(&sources.hot, &sql).await?;
    let total = rows.first().map_or(0, |row| row.total);
    let loss = |row: NamedLoss| Loss {
        stream: row.stream,
        from_seq: row.from_seq,
        to_seq: row.to_seq,
        messages: row.messages,
        cause: row.cause,
        evidence: row.evidence,
        seen_at: Time(row.seen_ms),
    };
    Ok(Listed { total, items: rows.into_iter().map(loss).collect() })
}

#[derive(Debug, Row, Deserialize)]
struct Refused {
    reason: String,
    messages: u64,
    newest_ms: i64,
}

/// What was refused for its content.
pub async fn dead_letters(sources: &Sources, scope: &Scope) -> Part<Vec<DeadLetters>> {
    let sql = format!(
        "SELECT leftUTF8(reason, 200) AS reason, count() AS messages, \
         toUnixTimestamp64Milli(max(created_at)) AS newest_ms FROM {}.dead_letters FINAL WHERE {} \
         GROUP BY reason ORDER BY messages DESC, reason LIMIT 50",
        sources.hot.database,
        within("created_at", scope.from.0, scope.to.0),
    );
    let rows = sources.rows::<Refused>(&sources.hot, &sql).await?;
    let letters = |row: Refused| DeadLetters {
        reason: row.reason,
        messages: row.messages,
        newest: Time::some(row.newest_ms),
    };
    Ok(rows.into_iter().map(letters).collect())
}
