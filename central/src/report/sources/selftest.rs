//! Loss and latency of the edges' synthetic streams, by their rows in hot.

use clickhouse::Row;
use marketprism_schema::{GapKind, SELFTEST_CATCH_UP, SELFTEST_EXCHANGE};
use serde::Deserialize;

use super::{Answer, Sources};
use crate::sql;

/// Most edges and rates listed.
const STREAMS_MAX: usize = 256;
/// Ids are counted by ten minutes.
const BUCKET_MS: i64 = 600_000;
const BUCKETS_OF_HOUR: u16 = 6;
const BUCKETS_OF_DAY: u16 = 144;
/// Clocks of hot and of the edges may be ahead by this.
const AHEAD_MS: i64 = 60_000;
/// Longest runs of missing ids of a bucket that are compared with the times in which the edge published none. Ids of others are missing.
const HOLES_MAX: usize = 64;
/// Most such times read.
const PAUSES_MAX: usize = 20_000;
const SECOND_NS: i64 = 1_000_000_000;

/// Synthetic streams of the last day, and clocks of their edges.
#[derive(Debug, Clone, Default)]
pub struct SelfTests {
    pub read_ms: i64,
    pub streams: Vec<SelfTestRow>,
    pub pauses: Vec<SelfTestPause>,
    pub clocks: Vec<BestClock>,
}

/// One stream of the last day.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct SelfTestRow {
    pub edge: String,
    pub symbol: String,
    /// Trades a second.
    pub rate: u64,
    pub newest_us: i64,
    pub buckets: Vec<IdBucket>,
    /// From a trade's time to the start of its insert, in microseconds: 0.5, 0.99. 0 without a trade.
    pub hour: Vec<u64>,
    pub day: Vec<u64>,
}

/// Ids in hot of ten minutes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "(u16, u64, u64, u64, Vec<(u64, u64)>)")]
pub struct IdBucket {
    /// 0: the newest.
    pub bucket: u16,
    pub first: u64,
    pub last: u64,
    pub stored: u64,
    /// First and last ids of the longest holes between.
    pub holes: Vec<(u64, u64)>,
}

impl From<(u16, u64, u64, u64, Vec<(u64, u64)>)> for IdBucket {
    fn from((bucket, first, last, stored, holes): (u16, u64, u64, u64, Vec<(u64, u64)>)) -> Self {
        Self { bucket, first, last, stored, holes }
    }
}

/// Time in which an edge published no trade of its stream: it did not run, or its clock was set forward over it.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct SelfTestPause {
    pub edge: String,
    /// Empty: of all streams of the edge.
    pub symbol: String,
    pub begin_ns: i64,
    /// 0 while it lasts.
    pub end_ns: i64,
}

/// Newest measurement of an edge's clock, against the venue with the least error.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct BestClock {
    pub edge: String,
    pub exchange: String,
    pub offset_ns: i64,
    pub error_ns: i64,
}

/// Ids of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedIds {
    /// From the first to the last.
    pub expected: u64,
    /// Published, and not in hot.
    pub missing: u64,
    /// Of the times in which the edge published none.
    pub silent: u64,
}

impl SelfTestRow {
    pub fn of_hour(&self, pauses: &[SelfTestPause]) -> Option<CountedIds> {
        self.ids(BUCKETS_OF_HOUR, pauses)
    }

    pub fn of_day(&self, pauses: &[SelfTestPause]) -> Option<CountedIds> {
        self.ids(BUCKETS_OF_DAY, pauses)
    }

    fn ids(&self, buckets: u16, pauses: &[SelfTestPause]) -> Option<CountedIds> {
        let mut counted: Vec<&IdBucket> =
            self.buckets.iter().filter(|bucket| bucket.bucket < buckets).collect();
        counted.sort_by_key(|bucket| bucket.first);
        let (first, last) = (counted.first()?, counted.last()?);
        let stored: u64 = counted.iter().map(|bucket| bucket.stored).sum();
        let between = counted.windows(2).filter_map(|pair| match pair {
            [before, after] => Some((before.last.saturating_add(1), after.first.saturating_sub(1))),
            _ => None,
        });
        let holes = counted.iter().flat_map(|bucket| bucket.holes.iter().copied()).chain(between);
        let paused = self.paused_ids(pauses);
        let silent = holes.flat_map(|hole| paused.iter().map(move |pause| common(hole, *pause))).sum();
        let expected = last.last.saturating_sub(first.first).saturating_add(1);
        Some(CountedIds { expected, missing: expected.saturating_sub(stored).saturating_sub(silent), silent })
    }

    /// First and last ids of the pauses, apart from each other. An id is the number of its tick since 1970.
    fn paused_ids(&self, pauses: &[SelfTestPause]) -> Vec<(u64, u64)> {
        let period_ns = SECOND_NS / i64::try_from(self.rate.max(1)).unwrap_or(SECOND_NS);
        let tick =
            |at_ns: i64| u64::try_from(at_ns.saturating_sub(1).div_euclid(period_ns)).unwrap_or_default();
        let own = pauses.iter().filter(|pause| {
            pause.edge == self.edge && (pause.symbol.is_empty() || pause.symbol == self.symbol)
        });
        let ids = own.map(|pause| {
            let last = if pause.end_ns == 0 { u64::MAX } else { tick(pause.end_ns) };
            (tick(pause.begin_ns).saturating_add(1), last)
        });
        let mut ids: Vec<(u64, u64)> = ids.collect();
        ids.sort_unstable();
        let mut apart: Vec<(u64, u64)> = Vec::new();
        for (first, last) in ids {
            match apart.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => apart.push((first, last)),
            }
        }
        apart
    }
}

/// Number of ids in both ranges.
fn common(one: (u64, u64), other: (u64, u64)) -> u64 {
    let (first, last) = (one.0.max(other.0), one.1.min(other.1));
    if first <= last { (last - first).saturating_add(1) } else { 0 }
}

/// SQL: downtimes of the streams, their last moments before a stop, and times over which a clock was set forward.
fn pauses_sql(database: &str, now_ms: i64) -> String {
    let from_ms = now_ms - i64::from(BUCKETS_OF_DAY) * BUCKET_MS;
    let from_ns = from_ms.saturating_mul(1_000_000);
    let since = sql::millis(from_ms);
    let made_up_ns = SELFTEST_CATCH_UP.as_nanos();
    format!(
        "SELECT toString(edge) AS edge, toString(symbol) AS symbol, from_ns AS begin_ns, max(to_ns) AS end_ns \
         FROM {database}.downtimes WHERE exchange = '{SELFTEST_EXCHANGE}' GROUP BY edge, symbol, from_ns \
         HAVING end_ns = 0 OR end_ns > {from_ns} \
         UNION ALL SELECT toString(edge) AS edge, toString(symbol) AS symbol, gap.from_ns AS begin_ns, gap.to_ns AS end_ns \
         FROM {database}.audits FINAL ARRAY JOIN gaps AS gap WHERE exchange = '{SELFTEST_EXCHANGE}' AND window_start >= {since} \
         AND gap.kind = '{stop}' \
         UNION ALL SELECT toString(edge) AS edge, '' AS symbol, step.at_ns - step.by_ns AS begin_ns, \
         step.at_ns - {made_up_ns} AS end_ns FROM {database}.edge_audits ARRAY JOIN clock_steps AS step \
         WHERE window_start >= {since} AND step.by_ns > {made_up_ns} LIMIT {PAUSES_MAX}",
        stop = GapKind::Stop,
    )
}

pub async fn read(sources: &Sources, now_ms: i64) -> Answer<SelfTests> {
    let database = &sources.hot.database;
    let from = sql::millis(now_ms - i64::from(BUCKETS_OF_DAY) * BUCKET_MS);
    let to = sql::millis(now_ms + AHEAD_MS);
    let by_bucket = format!(
        "SELECT edge, symbol, toUInt16(intDiv(greatest(0, {now_ms} - toUnixTimestamp64Milli(timestamp)), {BUCKET_MS})) AS bucket, \
         arraySort(groupUniqArray(toUInt64OrZero(trade_id))) AS ids, max(timestamp) AS newest, \
         quantilesTDigestState(0.5, 0.99)(greatest(0, toUnixTimestamp64Milli(created_at) * 1000 - \
         toUnixTimestamp64Micro(timestamp))) AS late \
         FROM {database}.trades WHERE exchange = '{SELFTEST_EXCHANGE}' AND timestamp >= {from} AND timestamp <= {to} \
         GROUP BY edge, symbol, bucket"
    );
    let micros = |merged: &str| format!("arrayMap(us -> if(isNaN(us), toUInt64(0), toUInt64(us)), {merged})");
    let holes = format!(
        "arraySlice(arrayReverseSort(hole -> tupleElement(hole, 2) - tupleElement(hole, 1), \
         arrayFilter(hole -> tupleElement(hole, 2) >= tupleElement(hole, 1), \
         arrayMap((id, step) -> (toUInt64(id - step + 1), toUInt64(id - 1)), ids, arrayDifference(ids)))), 1, {HOLES_MAX})"
    );
    let streams = format!(
        "SELECT toString(edge) AS edge, toString(symbol) AS symbol, \
         CAST(greatest(toUInt64(1), toUInt64OrZero(extract(toString(symbol), '-([0-9]+)HZ$'))) AS UInt64) AS rate, \
         toUnixTimestamp64Micro(max(newest)) AS newest_us, \
         groupArray((bucket, ids[1], ids[-1], toUInt64(length(ids)), {holes})) AS buckets, {} AS hour, {} AS day \
         FROM ({by_bucket}) GROUP BY edge, symbol ORDER BY edge, symbol LIMIT {STREAMS_MAX}",
        micros(&format!("quantilesTDigestMergeIf(0.5, 0.99)(late, bucket < {BUCKETS_OF_HOUR})")),
        micros("quantilesTDigestMerge(0.5, 0.99)(late)"),
    );
    // By the broker's time: the edge's clock is what is in question.
    let clocks = format!(
        "SELECT toString(edge) AS edge, tupleElement(best, 'exchange') AS exchange, tupleElement(best, 'offset_ns') AS offset_ns, \
         tupleElement(best, 'error_ns') AS error_ns \
         FROM (SELECT edge, arraySort(clock -> tupleElement(clock, 'error_ns'), argMax(clocks, (created_at, stream_seq))) AS sorted, \
         sorted[1] AS best FROM {database}.edge_audits WHERE created_at >= {} GROUP BY edge) \
         WHERE notEmpty(sorted) ORDER BY edge LIMIT {STREAMS_MAX}",
        sql::millis(now_ms - i64::from(BUCKETS_OF_HOUR) * BUCKET_MS),
    );
    let pauses = pauses_sql(database, now_ms);
    let (streams, pauses, clocks) = tokio::try_join!(
        sources.rows::<SelfTestRow>(&sources.hot, &streams),
        sources.rows::<SelfTestPause>(&sources.hot, &pauses),
        sources.rows::<BestClock>(&sources.hot, &clocks),
    )?;
    Ok(SelfTests { read_ms: now_ms, streams, pauses, clocks })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(bucket: u16, first: u64, last: u64, stored: u64, holes: &[(u64, u64)]) -> IdBucket {
        IdBucket { bucket, first, last, stored, holes: holes.to_vec() }
    }

    fn row(rate: u64, buckets: Vec<IdBucket>) -> SelfTestRow {
        let (edge, symbol) = ("e1".to_owned(), "A".to_owned());
        SelfTestRow { edge, symbol, rate, newest_us: 0, buckets, hour: vec![0, 0], day: vec![0, 0] }
    }

    fn pause(symbol: &str, begin_seconds: i64, end_seconds: i64) -> SelfTestPause {
        let [begin_ns, end_ns] = [begin_seconds, end_seconds].map(|seconds| seconds * SECOND_NS);
        SelfTestPause { edge: "e1".to_owned(), symbol: symbol.to_owned(), begin_ns, end_ns }
    }

    #[test]
    fn missing_ids_are_lost_however_many_in_a_row_unless_the_edge_reported_that_it_did_not_run() {
        let counted = |expected, missing, silent| Some(CountedIds { expected, missing, silent });
        assert_eq!(row(1, Vec::new()).of_day(&[]), None);
        let buckets = vec![
            bucket(0, 1_850, 1_999, 150, &[]),
            bucket(1, 1_200, 1_799, 598, &[(1_300, 1_301)]),
            bucket(7, 600, 1_199, 560, &[(700, 739)]),
        ];
        let row = row(1, buckets);
        assert_eq!(row.of_day(&[]), counted(1_400, 92, 0), "nobody explains them");
        assert_eq!(row.of_hour(&[]), counted(800, 52, 0));
        // Stopped from second 1,800 to 1,850, reported twice, and from 710 to 730; two ids in a row were lost while it ran.
        let pauses =
            [pause("A", 1_800, 1_850), pause("", 1_790, 1_810), pause("A", 710, 730), pause("B", 0, 5_000)];
        assert_eq!(row.of_day(&pauses), counted(1_400, 22, 70));
        assert_eq!(row.of_hour(&pauses), counted(800, 2, 50));
        assert_eq!(row.of_hour(&[pause("A", 1_800, 0)]), counted(800, 2, 50), "it lasts");
    }

    #[test]
    fn a_pause_has_the_ticks_from_its_begin_up_to_its_end() {
        let ids = |rate, begin_ns, end_ns| {
            let pause = SelfTestPause { begin_ns, end_ns, ..pause("A", 0, 0) };
            row(rate, Vec::new()).paused_ids(&[pause])
        };
        assert_eq!(ids(1, 5 * SECOND_NS, 7 * SECOND_NS), [(5, 6)]);
        assert_eq!(ids(2, 5 * SECOND_NS + 1, 7 * SECOND_NS + 1), [(11, 14)]);
        assert_eq!(common((5, 6), (6, 9)) + common((5, 6), (7, 9)), 1);
    }
}
