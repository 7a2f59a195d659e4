//! Loss and latency of the edges' synthetic streams, by their rows in hot.

use clickhouse::Row;
use marketprism_schema::SELFTEST_EXCHANGE;
use serde::Deserialize;

use super::{Answer, Sources};
use crate::sql;

/// Most edges and rates listed.
const STREAMS_MAX: usize = 256;

/// One stream in the last hour or day.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct SelfTestRow {
    pub edge: String,
    pub symbol: String,
    /// 1 or 24.
    pub hours: u8,
    /// Ids from the first to the last.
    pub expected: u64,
    /// Of them in hot.
    pub stored: u64,
    pub newest_us: i64,
    /// From a trade's time to the start of its insert, in microseconds: 0.5, 0.99.
    pub quantiles: Vec<u64>,
}

pub async fn read(sources: &Sources, now_ms: i64) -> Answer<Vec<SelfTestRow>> {
    let of_hours = |hours: i64| {
        format!(
            "SELECT toString(edge) AS edge, toString(symbol) AS symbol, toUInt8({hours}) AS hours, \
             toUInt64(max(toUInt64OrZero(trade_id)) - min(toUInt64OrZero(trade_id)) + 1) AS expected, \
             uniqExact(trade_id) AS stored, toUnixTimestamp64Micro(max(timestamp)) AS newest_us, \
             arrayMap(us -> toUInt64(us), quantilesTDigest(0.5, 0.99)(greatest(0, toUnixTimestamp64Milli(created_at) * 1000 - \
             toUnixTimestamp64Micro(timestamp)))) AS quantiles \
             FROM {}.trades WHERE exchange = '{SELFTEST_EXCHANGE}' AND timestamp >= {} GROUP BY edge, symbol",
            sources.hot.database,
            sql::millis(now_ms - hours * 3_600_000),
        )
    };
    let query = format!(
        "SELECT edge, symbol, hours, expected, stored, newest_us, quantiles FROM ({} UNION ALL {}) \
         ORDER BY edge, symbol, hours LIMIT {STREAMS_MAX}",
        of_hours(1),
        of_hours(24)
    );
    sources.rows::<SelfTestRow>(&sources.hot, &query).await
}
