//! Verdicts of the ledger, gaps, lost messages and dead letters.

use clickhouse::Row;
use marketprism_schema::{
    Capability, Completeness, DataType, DowntimeReason, GapCause, GapKind, Numbering, StreamId,
};
use serde::Deserialize;

use super::{Answer, Sources, within};
use crate::report::ReportScope;
use crate::report::document::{DeadLetters, LossList, ReportedGap, WorstWindow};
use crate::report::period::TimeBuckets;
use crate::sql::{self, SUBJECT};
use crate::time::{DAY_MS, Time};

const NO_FINAL_ACROSS: &str = "SETTINGS do_not_merge_across_partitions_select_final = 1";

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
    pub not_collected: u64,
    pub open: u64,
    /// Open windows long after their grace period.
    pub overdue: u64,
    /// Rows of the edge that were found in hot or `copies`.
    pub rows: u64,
    pub duplicates: u64,
    pub conflated: u64,
    pub window_seconds: u16,
    /// Begin of the first window.
    pub first_ms: i64,
    /// Begin of the last window.
    pub last_ms: i64,
    pub numbering: String,
    pub completeness: String,
    pub delay_seconds: u32,
    /// Consecutive windows of one state: begin and end in seconds, code of [`RunState`].
    pub runs: Vec<(i64, i64, u8)>,
}

impl VerdictBucket {
    /// Unknown names claim nothing.
    pub fn capability(&self) -> Capability {
        Capability {
            numbering: self.numbering.parse().unwrap_or(Numbering::Unnumbered),
            completeness: self.completeness.parse().unwrap_or(Completeness::Complete),
            delay_seconds: self.delay_seconds,
        }
    }
}

/// State of consecutive windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Verified, with events of the edge.
    Storing = 1,
    /// Verified, without events.
    Quiet = 2,
    Unverifiable = 3,
    Mismatch = 4,
    Open = 5,
    NotCollected = 6,
}

impl RunState {
    pub const ALL: [Self; 6] =
        [Self::Storing, Self::Quiet, Self::Unverifiable, Self::Mismatch, Self::Open, Self::NotCollected];

    pub const fn code(self) -> u8 {
        self as u8
    }
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
         countIf(state = 'unverifiable') AS unverifiable, \
         countIf(state = 'not_collected') AS not_collected, countIf(state = 'open') AS open, \
         countIf(state = 'open' AND window_start < {overdue}) AS overdue, sum(found) AS rows, \
         sum(duplicates) AS all_duplicates, sum(conflated) AS conflated, max(window_seconds) AS longest, \
         toUnixTimestamp64Milli(min(window_start)) AS first_ms, toUnixTimestamp64Milli(max(window_start)) AS last_ms, \
         toString(argMax(numbering, window_start)) AS numbering, toString(argMax(completeness, window_start)) AS completeness, \
         max(delay_seconds) AS delay_seconds, arraySort(groupArray((toInt64(toUnixTimestamp(window_start)), \
         multiIf(state = 'verified', toUInt8(if(found + duplicates > 0, 1, 2)), state = 'unverifiable', 3, state = 'mismatch', 4, state = 'not_collected', 6, 5)))) \
         AS windows, toInt64(longest) AS length, \
         arrayMap(run -> (run[1].1, run[-1].1 + length, run[1].2), arraySplit((window, before) -> \
         window.1 != before.1 + length OR window.2 != before.2, windows, arrayPopBack(arrayPushFront(windows, windows[1])))) AS runs \
         FROM {database}.verdicts FINAL WHERE {within}{only} \
         GROUP BY data_type, exchange, market_type, symbol, edge, bucket \
         LIMIT {GROUPS_MAX}",
        bucket = buckets.number_sql(),
        overdue = sql::millis(overdue_before_ms),
        database = sources.hot.database,
        within = within("window_start", scope.from.0, scope.to.0),
        only = scope.data_type_sql(),
    );
    let columns = "stream, edge, bucket, verified, mismatch, unverifiable, not_collected, open, overdue, rows, all_duplicates AS duplicates, conflated, longest AS window_seconds, \
                   first_ms, last_ms, numbering, completeness, delay_seconds, runs";
    let query = format!("SELECT {columns} FROM ({query}) {NO_FINAL_ACROSS}");
    let rows = sources.rows::<VerdictBucket>(&sources.hot, &query).await?;
    bounded(rows, GROUPS_MAX)
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

/// Reasons of refused messages, the one of all others included.
const LISTED_REASONS: u32 = 50;
/// Regular expression, as a text of SQL, of what differs between refusals for one reason: quoted texts, event ids, numbers.
const VALUES: &str = r#""(\\\\.|[^"\\\\])*"|[0-9a-f]{32}|[0-9]+"#;
/// Of the reasons that are not listed.
const OTHER_REASONS: &str = "other reasons";
/// Most gaps read, about 60 MB.
const EDGE_GAPS_MAX: usize = 300_000;
/// Most groups of ids read: 5,000 streams of two edges over 120 buckets.
const IDS_MAX: usize = 1_200_000;

/// A gap as an edge reported it.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct EdgeGap {
    #[serde(deserialize_with = "sql::stream_id")]
    pub stream: StreamId,
    pub edge: String,
    /// Begin of the window that reports it.
    pub window_ms: i64,
    pub run: i64,
    pub kind: String,
    pub cause: String,
    pub from_ns: i64,
    pub to_ns: i64,
    pub from_sequence: Option<i64>,
    pub to_sequence: Option<i64>,
    pub missing: Option<u64>,
}

impl EdgeGap {
    /// Its sequences are those of events: of books they are those of updates.
    pub fn has_ids(&self) -> bool {
        self.stream.data_type == DataType::Trade
    }
}

/// Ids in hot of one stream and bucket, by the verdicts of one edge, and its first window.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct StoredIdsRow {
    #[serde(deserialize_with = "sql::stream_id")]
    pub stream: StreamId,
    pub edge: String,
    pub first_ms: i64,
    /// First and last id, and the windows of both in seconds.
    pub ids: Vec<(i64, i64, i64, i64)>,
}

/// Time before and after a period in which ids are read, and gaps that reach back into it.
fn margin_ms(scope: &ReportScope) -> i64 {
    const HOUR_MS: i64 = 3_600_000;
    scope.span_ms().clamp(HOUR_MS, 24 * HOUR_MS)
}

pub async fn stored_ids(
    sources: &Sources,
    scope: &ReportScope,
    buckets: &TimeBuckets,
) -> Answer<Vec<StoredIdsRow>> {
    let margin = margin_ms(scope);
    let query = format!(
        "SELECT {SUBJECT} AS stream, toString(edge) AS edge, toUnixTimestamp64Milli(min(window_start)) AS first_ms, \
         arraySort(groupArrayArray(arrayMap(range -> (range.1, range.2, toInt64(toUnixTimestamp(window_start))), stored_ids))) AS ranges, \
         arrayMap(run -> (run[1].1, run[-1].2, run[1].3, run[-1].3), arraySplit((range, before) -> range.1 != before.2 + 1, \
         ranges, arrayPopBack(arrayPushFront(ranges, ranges[1])))) AS ids \
         FROM {database}.verdicts FINAL WHERE {within}{only} GROUP BY data_type, exchange, market_type, symbol, edge, \
         toUInt32(greatest(0, intDiv(toInt64(toUnixTimestamp(window_start)) - {start}, {length}) + 1)) LIMIT {IDS_MAX}",
        database = sources.hot.database,
        within = within("window_start", scope.from.0 - margin, scope.to.0 + margin),
        only = scope.data_type_sql(),
        start = buckets.start_ms / 1_000,
        length = buckets.seconds,
    );
    let query = format!("SELECT stream, edge, first_ms, ids FROM ({query}) {NO_FINAL_ACROSS}");
    let rows = sources.rows::<StoredIdsRow>(&sources.hot, &query).await?;
    bounded(rows, IDS_MAX)
}

/// SQL: audits with gaps, of several versions of an audit only the newest.
fn audits(sources: &Sources, scope: &ReportScope, (from_ms, to_ms): (i64, i64)) -> String {
    let only = scope.data_type_sql();
    format!(
        "(SELECT * FROM {}.audits WHERE {}{only} AND notEmpty(gaps) ORDER BY created_at DESC \
         LIMIT 1 BY window_start, exchange, data_type, market_type, symbol, edge, run)",
        sources.hot.database,
        within("window_start", from_ms, to_ms),
    )
}

/// Gaps that touch the period (the ids in hot show what was filled), those that a later window noticed included, unless the grace period of that window lasts. Also starts
/// shortly before the period: each window has its own part of a start.
pub async fn gaps(sources: &Sources, scope: &ReportScope, closed_before_ms: i64) -> Answer<Vec<EdgeGap>> {
    let later = (scope.to.0 + margin_ms(scope)).min(closed_before_ms).max(scope.to.0);
    let query = format!(
        "SELECT {SUBJECT} AS stream, toString(edge) AS edge, toUnixTimestamp64Milli(window_start) AS window_ms, run, \
         toString(gap.kind) AS kind, toString(gap.cause) AS cause, least(gap.from_ns, ifNull(gap.venue_from_ns, gap.from_ns)) AS from_ns, \
         greatest(gap.to_ns, ifNull(gap.venue_to_ns, gap.to_ns)) AS to_ns, \
         gap.from_sequence AS from_sequence, gap.to_sequence AS to_sequence, gap.missing AS missing \
         FROM {} ARRAY JOIN gaps AS gap WHERE (window_start < {to} OR from_ns < {to_ns}) \
         AND (window_start >= {from} OR gap.kind = '{start}') AND gap.kind != '{backfilled}' LIMIT {EDGE_GAPS_MAX}",
        audits(sources, scope, (scope.from.0 - margin_ms(scope), later)),
        from = sql::millis(scope.from.0),
        start = GapKind::Start,
        backfilled = GapKind::Backfilled,
        to = sql::millis(scope.to.0),
        to_ns = scope.to.0.saturating_mul(1_000_000),
    );
    let killed = killed(sources, scope);
    let (mut rows, killed) = tokio::try_join!(
        sources.rows::<EdgeGap>(&sources.hot, &query),
        sources.rows::<EdgeGap>(&sources.hot, &killed)
    )?;
    rows.extend(killed);
    bounded(rows, EDGE_GAPS_MAX)
}

/// SQL: times of which killed edges have no audit, as gaps. However long they are, a report that touches them sees them.
fn killed(sources: &Sources, scope: &ReportScope) -> String {
    let nanos = |time: Time| time.0.saturating_mul(1_000_000);
    format!(
        "SELECT {SUBJECT} AS stream, toString(edge) AS edge, intDiv(to_ns, 1000000) AS window_ms, toInt64(0) AS run, \
         toString(reason) AS kind, '{ours}' AS cause, from_ns, to_ns, CAST(NULL, 'Nullable(Int64)') AS from_sequence, \
         CAST(NULL, 'Nullable(Int64)') AS to_sequence, CAST(NULL, 'Nullable(UInt64)') AS missing FROM {}.downtimes FINAL \
         WHERE reason = '{killed}' AND from_ns < {} AND to_ns > {}{only} LIMIT {EDGE_GAPS_MAX}",
        sources.hot.database,
        nanos(scope.to),
        nanos(scope.from),
        ours = GapCause::Ours,
        killed = DowntimeReason::Killed,
        only = scope.data_type_sql(),
    )
}

/// A truncated answer would look complete.
fn bounded<T>(rows: Vec<T>, most: usize) -> Answer<Vec<T>> {
    if rows.len() >= most {
        return Err(format!("more than {most} rows; choose one table or a shorter period"));
    }
    Ok(rows)
}

pub async fn newest_gaps(sources: &Sources, scope: &ReportScope) -> Answer<Vec<ReportedGap>> {
    let query = format!(
        "SELECT {SUBJECT} AS stream, edge, toUnixTimestamp64Milli(window_start) AS window_start, \
         toString(gap.kind) AS kind, toString(gap.cause) AS cause, gap.missing AS missing, \
         gap.from_sequence AS from_sequence, gap.to_sequence AS to_sequence, \
         intDiv(ifNull(gap.venue_from_ns, gap.from_ns), 1000000) AS `from`, intDiv(ifNull(gap.venue_to_ns, gap.to_ns), 1000000) AS `to`, \
         multiIf(isNull(gap.venue_from_ns) AND isNull(gap.venue_to_ns), 'edge', isNull(gap.venue_to_ns), 'venue, edge', \
         isNull(gap.venue_from_ns), 'edge, venue', 'venue') AS clock, leftUTF8(gap.evidence, 500) AS evidence FROM {} ARRAY JOIN gaps AS gap \
         ORDER BY window_start DESC, `from` DESC LIMIT {LISTED_MAX}",
        audits(sources, scope, (scope.from.0, scope.to.0))
    );
    sources.rows::<ReportedGap>(&sources.hot, &query).await
}

/// A stop of an edge, or streams that its configuration no longer has.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct EdgeDowntime {
    pub edge: String,
    pub begin_ns: i64,
    /// 0 while it lasts.
    pub end_ns: i64,
    pub why: String,
    pub detail: String,
    pub streams: u64,
}

pub async fn downtimes(sources: &Sources, scope: &ReportScope) -> Answer<Vec<EdgeDowntime>> {
    let nanos = |time: Time| time.0.saturating_mul(1_000_000);
    let only = scope.data_type_sql();
    let of_stream = format!(
        "SELECT edge, from_ns, max(to_ns) AS until_ns, any(reason) AS cause, any(downtimes.detail) AS what FROM {}.downtimes WHERE from_ns < {}{only} \
         GROUP BY data_type, exchange, market_type, symbol, edge, from_ns HAVING until_ns = 0 OR until_ns > {}",
        sources.hot.database,
        nanos(scope.to),
        nanos(scope.from),
    );
    // An edge that reports again without an end of its stop has lost its data folder: the stop excuses nothing.
    let heard = format!(
        "SELECT edge, max(covers_to) AS heard_ns FROM {}.audits WHERE {} GROUP BY edge",
        sources.hot.database,
        within("window_start", scope.from.0 - DAY_MS, scope.to.0),
    );
    let query = format!(
        "SELECT toString(edge) AS edge, from_ns AS begin_ns, until_ns AS end_ns, toString(cause) AS why, what AS detail, \
         count() AS streams FROM ({of_stream}) AS times LEFT JOIN ({heard}) AS audited USING edge \
         WHERE until_ns > 0 OR cause != '{stopped}' OR heard_ns <= from_ns \
         GROUP BY edge, begin_ns, end_ns, why, detail ORDER BY begin_ns DESC LIMIT {LISTED_MAX}",
        stopped = DowntimeReason::Stopped,
    );
    sources.rows::<EdgeDowntime>(&sources.hot, &query).await
}

pub async fn losses(sources: &Sources, scope: &ReportScope) -> Answer<LossList> {
    let within = within("seen_at", scope.from.0, scope.to.0);
    let lost = format!("(SELECT * FROM {}.losses FINAL WHERE {within})", sources.hot.database);
    let total = format!("SELECT count(), sum(messages) FROM {lost}");
    let newest = format!(
        "SELECT stream, from_seq, to_seq, messages, cause, leftUTF8(evidence, 500) AS evidence, \
         toUnixTimestamp64Milli(seen_at) AS seen_at FROM {lost} ORDER BY seen_at DESC LIMIT {LISTED_MAX}"
    );
    let (total, items) = tokio::try_join!(
        sources.rows::<(u64, u64)>(&sources.hot, &total),
        sources.rows(&sources.hot, &newest)
    )?;
    let (total, messages) = total.first().copied().unwrap_or_default();
    Ok(LossList { total, messages, items })
}

/// By reason, whatever the numbers, ids and quoted texts in it: each value of a field would be a reason of its own. The rarest of more than
/// [`LISTED_REASONS`] reasons are one.
pub async fn dead_letters(sources: &Sources, scope: &ReportScope) -> Answer<Vec<DeadLetters>> {
    let query = format!(
        "SELECT if(place < {LISTED_REASONS}, text, '{OTHER_REASONS}') AS reason, sum(of_text) AS messages, max(last_ms) AS newest FROM (\
         SELECT leftUTF8(min(letters.reason), 200) AS text, count() AS of_text, toUnixTimestamp64Milli(max(created_at)) AS last_ms, \
         row_number() OVER (ORDER BY of_text DESC, text) AS place FROM {}.dead_letters AS letters FINAL WHERE {} \
         GROUP BY replaceRegexpAll(letters.reason, '{VALUES}', '0')) GROUP BY reason ORDER BY reason = '{OTHER_REASONS}', messages DESC, reason",
        sources.hot.database,
        within("created_at", scope.from.0, scope.to.0),
    );
    sources.rows::<DeadLetters>(&sources.hot, &query).await
}
