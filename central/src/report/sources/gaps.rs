//! Gaps, lost messages and dead letters.

use clickhouse::Row;
use marketprism_schema::StreamId;
use serde::Deserialize;

use super::{Answer, Sources, within};
use crate::report::buckets::TimeBuckets;
use crate::report::document::{DeadLetters, LostMessages, ReportedGap, TruncatedList};
use crate::report::{ReportScope, Time};
use crate::sql::{self, SUBJECT};

/// Most gaps and losses listed.
const LISTED_MAX: usize = 200;
/// Most groups of gaps read.
const GROUPS_MAX: usize = 200_000;

/// Gaps of one stream, edge, bucket and cause.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct GapGroup {
    #[serde(deserialize_with = "sql::stream_id")]
    pub stream: StreamId,
    pub edge: String,
    pub bucket: u32,
    pub cause: String,
    /// `start`: before a run's first frame; `stop`: after its last, or such a start that goes on; else `gap`.
    pub class: String,
    /// Begin of the first window that reports one.
    pub first_ms: i64,
    pub count: u64,
    pub missing: u64,
    /// Gaps of unknown size: a broken connection of a stream without sequence.
    pub unknown: u64,
}

/// SQL: gaps of the period, each once; of several versions of an audit only the newest.
fn audits(sources: &Sources, scope: &ReportScope) -> String {
    let only = scope.data_type_sql();
    format!(
        "(SELECT * FROM {}.audits WHERE {}{only} AND notEmpty(gaps) ORDER BY created_at DESC \
         LIMIT 1 BY window_start, exchange, data_type, market_type, symbol, edge, run)",
        sources.hot.database,
        within("window_start", scope.from.0, scope.to.0),
    )
}

pub async fn groups(sources: &Sources, scope: &ReportScope, buckets: &TimeBuckets) -> Answer<Vec<GapGroup>> {
    let query = format!(
        "SELECT {SUBJECT} AS stream, toString(edge) AS edge, {bucket} AS bucket, \
         toString(gap.cause) AS cause, multiIf(gap.kind = 'stop' OR (gap.kind = 'start' AND \
         run < toUnixTimestamp64Milli(window_start) * 1000000), 'stop', gap.kind = 'start', 'start', 'gap') AS class, \
         toUnixTimestamp64Milli(min(window_start)) AS first_ms, count() AS count, \
         toUInt64(sum(ifNull(gap.missing, 0))) AS missing, countIf(isNull(gap.missing)) AS unknown \
         FROM {audits} ARRAY JOIN gaps AS gap GROUP BY stream, edge, bucket, cause, class LIMIT {GROUPS_MAX}",
        bucket = buckets.number_sql(),
        audits = audits(sources, scope),
    );
    sources.rows::<GapGroup>(&sources.hot, &query).await
}

#[derive(Debug, Row, Deserialize)]
struct GapRow {
    stream: String,
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

pub async fn newest(sources: &Sources, scope: &ReportScope) -> Answer<Vec<ReportedGap>> {
    let query = format!(
        "SELECT {SUBJECT} AS stream, edge, toUnixTimestamp64Milli(window_start) AS window_ms, \
         toString(gap.kind) AS kind, toString(gap.cause) AS cause, gap.missing AS missing, \
         gap.from_sequence AS from_sequence, gap.to_sequence AS to_sequence, gap.from_ns AS from_ns, \
         gap.to_ns AS to_ns, leftUTF8(gap.evidence, 500) AS evidence FROM {} ARRAY JOIN gaps AS gap \
         ORDER BY window_start DESC, from_ns DESC LIMIT {LISTED_MAX}",
        audits(sources, scope)
    );
    let rows = sources.rows::<GapRow>(&sources.hot, &query).await?;
    let gap = |row: GapRow| ReportedGap {
        stream: row.stream,
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
struct LostMessagesRow {
    stream: String,
    from_seq: u64,
    to_seq: u64,
    messages: u64,
    cause: String,
    evidence: String,
    seen_ms: i64,
    total: u64,
}

pub async fn losses(sources: &Sources, scope: &ReportScope) -> Answer<TruncatedList<LostMessages>> {
    let query = format!(
        "SELECT stream, from_seq, to_seq, messages, cause, leftUTF8(evidence, 500) AS evidence, \
         toUnixTimestamp64Milli(seen_at) AS seen_ms, count() OVER () AS total FROM {}.losses FINAL WHERE {} \
         ORDER BY seen_at DESC LIMIT {LISTED_MAX}",
        sources.hot.database,
        within("seen_at", scope.from.0, scope.to.0),
    );
    let rows = sources.rows::<LostMessagesRow>(&sources.hot, &query).await?;
    let total = rows.first().map_or(0, |row| row.total);
    let loss = |row: LostMessagesRow| LostMessages {
        stream: row.stream,
        from_seq: row.from_seq,
        to_seq: row.to_seq,
        messages: row.messages,
        cause: row.cause,
        evidence: row.evidence,
        seen_at: Time(row.seen_ms),
    };
    Ok(TruncatedList { total, items: rows.into_iter().map(loss).collect() })
}

#[derive(Debug, Row, Deserialize)]
struct RefusedRow {
    reason: String,
    messages: u64,
    newest_ms: i64,
}

pub async fn dead_letters(sources: &Sources, scope: &ReportScope) -> Answer<Vec<DeadLetters>> {
    let query = format!(
        "SELECT leftUTF8(reason, 200) AS reason, count() AS messages, \
         toUnixTimestamp64Milli(max(created_at)) AS newest_ms FROM {}.dead_letters FINAL WHERE {} \
         GROUP BY reason ORDER BY messages DESC, reason LIMIT 50",
        sources.hot.database,
        within("created_at", scope.from.0, scope.to.0),
    );
    let rows = sources.rows::<RefusedRow>(&sources.hot, &query).await?;
    let letters = |row: RefusedRow| DeadLetters {
        reason: row.reason,
        messages: row.messages,
        newest: Time::some(row.newest_ms),
    };
    Ok(rows.into_iter().map(letters).collect())
}
