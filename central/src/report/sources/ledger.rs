//! Verdicts of the ledger, gaps, lost messages and dead letters.

use clickhouse::Row;
use marketprism_schema::StreamId;
use serde::Deserialize;

use super::{Answer, Sources, within};
use crate::report::ReportScope;
use crate::report::document::{DeadLetters, LostMessages, ReportedGap, TruncatedList, WorstWindow};
use crate::report::period::TimeBuckets;
use crate::sql::{self, SUBJECT};

/// Most groups read: 5,000 streams over 120 buckets, about 100 MB while they are added up.
const GROUPS_MAX: usize = 600_000;

/// Verdicts of one stream, edge and bucket, counted by state.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct VerdictBucket {
    #[serde(deserialize_with = "sql::stream_id")]
    pub stream: StreamId,
    pub edge: String,
    pub bucket: u32,
    pub verified: u64,
    pub mismatch: u64,
    pub unverifiable: u64,
    pub open: u64,
    /// Open windows long after their grace period.
    pub overdue: u64,
    /// Missing events that the audits' gaps name.
    pub missing: u64,
    pub duplicates: u64,
    pub conflated: u64,
    pub window_seconds: u16,
    /// Begin of the first window.
    pub first_ms: i64,
    /// Begin of the last window.
    pub last_ms: i64,
}

pub async fn verdicts(
    sources: &Sources,
    scope: &ReportScope,
    buckets: &TimeBuckets,
    overdue_before_ms: i64,
) -> Answer<Vec<VerdictBucket>> {
    let query = format!(
        "SELECT {SUBJECT} AS stream, toString(edge) AS edge, {bucket} AS bucket, \
         countIf(state = 'verified') AS verified, countIf(state = 'mismatch') AS mismatch, \
         countIf(state = 'unverifiable') AS unverifiable, countIf(state = 'open') AS open, \
         countIf(state = 'open' AND window_start < {overdue}) AS overdue, sum(missing) AS missing, \
         sum(duplicates) AS duplicates, sum(conflated) AS conflated, max(window_seconds) AS window_seconds, \
         toUnixTimestamp64Milli(min(window_start)) AS first_ms, toUnixTimestamp64Milli(max(window_start)) AS last_ms \
         FROM {database}.verdicts FINAL WHERE {within}{only} \
         GROUP BY data_type, exchange, market_type, symbol, edge, bucket \
         LIMIT {GROUPS_MAX} SETTINGS do_not_merge_across_partitions_select_final = 1",
        bucket = buckets.number_sql(),
        overdue = sql::millis(overdue_before_ms),
        database = sources.hot.database,
        within = within("window_start", scope.from.0, scope.to.0),
        only = scope.data_type_sql(),
    );
    let rows = sources.rows::<VerdictBucket>(&sources.hot, &query).await?;
    // A truncated answer would look complete.
    if rows.len() >= GROUPS_MAX {
        return Err(format!(
            "more than {GROUPS_MAX} streams times buckets; choose one table or a shorter period"
        ));
    }
    Ok(rows)
}

/// Windows of the given buckets that are not verified. The table's key begins with the stream, so this reads little.
pub async fn worst_windows(
    sources: &Sources,
    scope: &ReportScope,
    cells: &[(StreamId, i64, i64)],
    overdue_before_ms: i64,
    limit: usize,
) -> Answer<Vec<WorstWindow>> {
    let span = cells
        .iter()
        .fold((i64::MAX, i64::MIN), |(from, to), (_, begin, end)| (from.min(*begin), to.max(*end)));
    if cells.is_empty() {
        return Ok(Vec::new());
    }
    let of_cell = |(key, from, to): &(StreamId, i64, i64)| {
        let [data_type, exchange, market_type, symbol] = key.names().map(sql::quote);
        let within = within("window_start", *from, *to);
        format!(
            "(data_type = {data_type} AND exchange = {exchange} AND market_type = {market_type} AND \
             symbol = {symbol} AND {within})"
        )
    };
    let any: Vec<String> = cells.iter().map(of_cell).collect();
    let query = format!(
        "SELECT 'ledger' AS kind, stream AS `of`, edge, window_ms AS window_start, seconds AS window_seconds, state, reason, \
         expected, found FROM (SELECT {SUBJECT} AS stream, edge, toUnixTimestamp64Milli(window_start) AS window_ms, \
         toUInt64(window_seconds) AS seconds, state, reason, expected, found \
         FROM {database}.verdicts FINAL WHERE {within} AND ({any}) \
         AND (state IN ('mismatch', 'unverifiable') OR (state = 'open' AND window_start < {overdue})) \
         ORDER BY state != 'mismatch', window_start DESC, exchange, data_type, market_type, symbol, edge \
         LIMIT {limit}) SETTINGS do_not_merge_across_partitions_select_final = 1",
        database = sources.hot.database,
        within = within("window_start", span.0.max(scope.from.0), span.1.min(scope.to.0)),
        any = any.join(" OR "),
        overdue = sql::millis(overdue_before_ms),
    );
    sources.rows::<WorstWindow>(&sources.hot, &query).await
}

/// Most gaps and losses listed.
const LISTED_MAX: usize = 200;
/// Most groups of gaps read.
const GAP_GROUPS_MAX: usize = 200_000;

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

pub async fn gap_groups(
    sources: &Sources,
    scope: &ReportScope,
    buckets: &TimeBuckets,
) -> Answer<Vec<GapGroup>> {
    let query = format!(
        "SELECT {SUBJECT} AS stream, toString(edge) AS edge, {bucket} AS bucket, \
         toString(gap.cause) AS cause, multiIf(gap.kind = 'stop' OR (gap.kind = 'start' AND \
         run < toUnixTimestamp64Milli(window_start) * 1000000), 'stop', gap.kind = 'start', 'start', 'gap') AS class, \
         toUnixTimestamp64Milli(min(window_start)) AS first_ms, count() AS count, \
         toUInt64(sum(ifNull(gap.missing, 0))) AS missing, countIf(isNull(gap.missing)) AS unknown \
         FROM {audits} ARRAY JOIN gaps AS gap GROUP BY stream, edge, bucket, cause, class LIMIT {GAP_GROUPS_MAX}",
        bucket = buckets.number_sql(),
        audits = audits(sources, scope),
    );
    sources.rows::<GapGroup>(&sources.hot, &query).await
}

pub async fn newest_gaps(sources: &Sources, scope: &ReportScope) -> Answer<Vec<ReportedGap>> {
    let query = format!(
        "SELECT {SUBJECT} AS stream, edge, toUnixTimestamp64Milli(window_start) AS window_start, \
         toString(gap.kind) AS kind, toString(gap.cause) AS cause, gap.missing AS missing, \
         gap.from_sequence AS from_sequence, gap.to_sequence AS to_sequence, \
         intDiv(gap.from_ns, 1000000) AS `from`, intDiv(gap.to_ns, 1000000) AS `to`, leftUTF8(gap.evidence, 500) AS evidence FROM {} ARRAY JOIN gaps AS gap \
         ORDER BY window_start DESC, `from` DESC LIMIT {LISTED_MAX}",
        audits(sources, scope)
    );
    sources.rows::<ReportedGap>(&sources.hot, &query).await
}

pub async fn losses(sources: &Sources, scope: &ReportScope) -> Answer<TruncatedList<LostMessages>> {
    let within = within("seen_at", scope.from.0, scope.to.0);
    let lost = format!("(SELECT * FROM {}.losses FINAL WHERE {within})", sources.hot.database);
    let total = format!("SELECT count() FROM {lost}");
    let newest = format!(
        "SELECT stream, from_seq, to_seq, messages, cause, leftUTF8(evidence, 500) AS evidence, \
         toUnixTimestamp64Milli(seen_at) AS seen_at FROM {lost} ORDER BY seen_at DESC LIMIT {LISTED_MAX}"
    );
    let (total, items) =
        tokio::try_join!(sources.rows::<u64>(&sources.hot, &total), sources.rows(&sources.hot, &newest))?;
    Ok(TruncatedList { total: total.first().copied().unwrap_or_default(), items })
}

pub async fn dead_letters(sources: &Sources, scope: &ReportScope) -> Answer<Vec<DeadLetters>> {
    let query = format!(
        "SELECT leftUTF8(reason, 200) AS reason, count() AS messages, \
         toUnixTimestamp64Milli(max(created_at)) AS newest FROM {}.dead_letters FINAL WHERE {} \
         GROUP BY reason ORDER BY messages DESC, reason LIMIT 50",
        sources.hot.database,
        within("created_at", scope.from.0, scope.to.0),
    );
    sources.rows::<DeadLetters>(&sources.hot, &query).await
}
