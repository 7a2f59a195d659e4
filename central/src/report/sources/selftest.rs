//! Loss and latency of the edges' synthetic streams, by their rows in hot.

use clickhouse::Row;
use marketprism_schema::SELFTEST_EXCHANGE;
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
/// Seconds without a trade from which ids are a silence.
const SILENCE_SECONDS: u64 = 2;

/// Synthetic streams of the last day, and clocks of their edges.
#[derive(Debug, Clone, Default)]
pub struct SelfTests {
    pub read_ms: i64,
    pub streams: Vec<SelfTestRow>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "(u16, u64, u64, u64, u64)")]
pub struct IdBucket {
    /// 0: the newest.
    pub bucket: u16,
    pub first: u64,
    pub last: u64,
    pub stored: u64,
    /// Ids of silences between the first and the last.
    pub silent: u64,
}

impl From<(u16, u64, u64, u64, u64)> for IdBucket {
    fn from((bucket, first, last, stored, silent): (u16, u64, u64, u64, u64)) -> Self {
        Self { bucket, first, last, stored, silent }
    }
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
    /// Neither in hot nor of a silence.
    pub missing: u64,
    pub silent: u64,
}

impl SelfTestRow {
    pub fn of_hour(&self) -> Option<CountedIds> {
        self.ids(BUCKETS_OF_HOUR)
    }

    pub fn of_day(&self) -> Option<CountedIds> {
        self.ids(BUCKETS_OF_DAY)
    }

    fn ids(&self, buckets: u16) -> Option<CountedIds> {
        let mut counted: Vec<&IdBucket> =
            self.buckets.iter().filter(|bucket| bucket.bucket < buckets).collect();
        counted.sort_by_key(|bucket| bucket.first);
        let (first, last) = (counted.first()?, counted.last()?);
        let stored: u64 = counted.iter().map(|bucket| bucket.stored).sum();
        let within: u64 = counted.iter().map(|bucket| bucket.silent).sum();
        let hole = |pair: &[&IdBucket]| match pair {
            [before, after] => after.first.saturating_sub(before.last).saturating_sub(1),
            _ => 0,
        };
        let holes = counted.windows(2).map(hole);
        let between: u64 = holes.filter(|hole| *hole >= SILENCE_SECONDS.saturating_mul(self.rate)).sum();
        let expected = last.last.saturating_sub(first.first).saturating_add(1);
        let silent = within.saturating_add(between);
        Some(CountedIds { expected, missing: expected.saturating_sub(stored).saturating_sub(silent), silent })
    }
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
    let silent = format!(
        "toUInt64(arraySum(arrayFilter(hole -> hole >= {SILENCE_SECONDS} * rate, arrayMap(step -> step - 1, arrayDifference(ids)))))"
    );
    let streams = format!(
        "SELECT toString(edge) AS edge, toString(symbol) AS symbol, \
         CAST(greatest(toUInt64(1), toUInt64OrZero(extract(toString(symbol), '-([0-9]+)HZ$'))) AS UInt64) AS rate, \
         toUnixTimestamp64Micro(max(newest)) AS newest_us, \
         groupArray((bucket, ids[1], ids[-1], toUInt64(length(ids)), {silent})) AS buckets, {} AS hour, {} AS day \
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
    let (streams, clocks) = tokio::try_join!(
        sources.rows::<SelfTestRow>(&sources.hot, &streams),
        sources.rows::<BestClock>(&sources.hot, &clocks),
    )?;
    Ok(SelfTests { read_ms: now_ms, streams, clocks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_time_without_any_trade_are_silent_and_single_ids_are_missing() {
        let bucket = |bucket, first, last, stored, silent| IdBucket { bucket, first, last, stored, silent };
        let row = |rate, buckets: Vec<IdBucket>| SelfTestRow {
            edge: "e1".to_owned(),
            symbol: String::new(),
            rate,
            newest_us: 0,
            buckets,
            hour: vec![0, 0],
            day: vec![0, 0],
        };
        let counted = |expected, missing, silent| Some(CountedIds { expected, missing, silent });
        assert_eq!(row(1, Vec::new()).of_day(), None);
        // Three of the first bucket's are missing; the edge stood still for 50 ids, over the end of the second.
        let buckets = vec![
            bucket(0, 1_850, 1_999, 150, 0),
            bucket(1, 1_200, 1_799, 600, 0),
            bucket(7, 600, 1_199, 597, 0),
        ];
        assert_eq!(row(1, buckets.clone()).of_day(), counted(1_400, 3, 50));
        assert_eq!(row(1, buckets.clone()).of_hour(), counted(800, 0, 50));
        assert_eq!(row(30, buckets).of_hour(), counted(800, 50, 0), "less than two seconds");
        assert_eq!(row(1, vec![bucket(9, 1, 100, 60, 38)]).of_day(), counted(100, 2, 38));
        assert_eq!(row(1, vec![bucket(9, 1, 100, 60, 38)]).of_hour(), None);
    }
}
