//! Documents of `/overview` and `/coverage`: incoming streams, their age, replication lag.

use std::collections::BTreeMap;

use marketprism_schema::{DataType, Table, stale_after};
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock;
use crate::context::CentralContext;
use crate::coverage::{Arrived, CoverageRow};
use crate::report::document::{BrokerStream, LeaseState, Unanswered};
use crate::report::sources::selftest::{self, SelfTestRow};
use crate::report::sources::{systems, tables};
use crate::report::{Sources, Time};

/// Incoming streams, broker, replication lag and leases.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Overview {
    pub version: u32,
    pub generated_at: Time,
    pub program_version: &'static str,
    /// Reasons why this process is not ready; empty: ready.
    pub reasons: Vec<String>,
    /// Incoming data of this central, by venue and data type.
    pub arriving: Vec<Arriving>,
    /// Data types without any data.
    pub nothing_of: Vec<&'static str>,
    /// Streams and consumers of the broker.
    pub broker: Vec<BrokerStream>,
    pub cold: Vec<ColdLag>,
    pub leases: Vec<LeaseState>,
    /// The edges' synthetic streams, by edge and rate.
    pub selftest: Vec<SelfTestState>,
    /// Sources that did not answer.
    pub unanswered: Vec<Unanswered>,
}

/// Loss and latency of an edge's synthetic stream, by its rows in hot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SelfTestState {
    pub edge: String,
    pub symbol: String,
    /// Seconds since the newest trade.
    pub age_seconds: i64,
    /// The last hour; absent without a trade in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour: Option<SelfTestPeriod>,
    /// The last 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<SelfTestPeriod>,
}

/// A synthetic stream in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct SelfTestPeriod {
    /// Ids from the first to the last trade.
    pub expected: u64,
    /// Of them not in hot: lost, on their way, or of a time in which the edge did not run (see the integrity report).
    pub missing: u64,
    /// From a trade's time to the start of its insert, median.
    pub p50_us: u64,
    pub p99_us: u64,
}

/// One data type of one exchange.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Arriving {
    /// Events per second at this central, averaged over the last minute.
    pub events_per_second: f64,
    #[serde(flatten)]
    pub coverage: Covered,
}

/// Replication lag of one table.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ColdLag {
    pub table: String,
    /// Replication watermark: everything stored before is in cold or logged as different.
    pub copied_upto: Time,
    pub lag_minutes: f64,
}

pub async fn overview(shared: &CentralContext, sources: &Sources) -> Overview {
    let now_ns = clock::now_ns();
    let rows = shared.coverage.rows(now_ns);
    let CoverageTable { coverage, nothing_of } = coverage_table(&rows, now_ns);
    let now_ms = now_ns / 1_000_000;
    let (streams, leases, marks, selftest) = tokio::join!(
        systems::streams(sources),
        systems::leases(sources),
        tables::watermarks(sources),
        selftest::read(sources, now_ms)
    );
    let mut unanswered = Vec::new();
    let mut miss = |part: String, reason: String| unanswered.push(Unanswered { part, reason });
    let mut answered = Vec::new();
    for (name, stream) in streams {
        match stream {
            Ok(stream) => answered.push(stream),
            Err(reason) => miss(format!("stream {name}"), reason),
        }
    }
    let leases = leases.unwrap_or_else(|reason| {
        miss("leases".to_owned(), reason);
        Vec::new()
    });
    let marks = marks.unwrap_or_else(|reason| {
        miss("watermarks".to_owned(), reason);
        BTreeMap::new()
    });
    let selftest = selftest.unwrap_or_else(|reason| {
        miss("self-test".to_owned(), reason);
        Vec::new()
    });
    let arriving = rows
        .iter()
        .zip(coverage)
        .map(|(row, coverage)| Arriving { events_per_second: row.events_per_second, coverage })
        .collect();
    Overview {
        version: 1,
        generated_at: Time(now_ns / 1_000_000),
        program_version: env!("CARGO_PKG_VERSION"),
        reasons: shared.status.reasons(),
        arriving,
        nothing_of,
        broker: answered,
        cold: lags(&marks),
        leases,
        selftest: selftest_states(selftest, now_ms),
        unanswered,
    }
}

fn selftest_states(rows: Vec<SelfTestRow>, now_ms: i64) -> Vec<SelfTestState> {
    let mut states: Vec<SelfTestState> = Vec::new();
    for SelfTestRow { edge, symbol, hours, expected, stored, newest_us, quantiles } in rows {
        let [p50_us, p99_us] = quantiles[..] else { continue };
        let period = SelfTestPeriod { expected, missing: expected.saturating_sub(stored), p50_us, p99_us };
        let is_same = |state: &&mut SelfTestState| state.edge == edge && state.symbol == symbol;
        let state = match states.iter_mut().find(is_same) {
            Some(state) => state,
            None => {
                let age_seconds = (now_ms - newest_us / 1_000).max(0) / 1_000;
                states.push(SelfTestState { edge, symbol, age_seconds, hour: None, day: None });
                let Some(state) = states.last_mut() else { continue };
                state
            }
        };
        let place = if hours == 1 { &mut state.hour } else { &mut state.day };
        *place = Some(period);
    }
    states
}

fn lags(marks: &BTreeMap<String, tables::TableWatermark>) -> Vec<ColdLag> {
    let lag = |table: &Table| {
        let mark = marks.get(table.name)?;
        let behind_ms = mark.hot_newest.map_or(0, |newest| (newest.0 - mark.upto.0).max(0));
        Some(ColdLag {
            table: table.name.to_owned(),
            copied_upto: mark.upto,
            lag_minutes: (behind_ms / 6_000) as f64 / 10.0,
        })
    };
    Table::ALL.iter().filter_map(lag).collect()
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Data in hot by exchange and data type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CoverageTable {
    /// One row per exchange and data type.
    pub coverage: Vec<Covered>,
    /// Data types without any data.
    pub nothing_of: Vec<&'static str>,
}

/// One data type of one exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Covered {
    pub exchange: String,
    pub data_type: &'static str,
    /// Time at which the newest event was stored, seconds since 1970.
    pub last_success_ts: i64,
    /// Seconds since `last_success_ts`.
    pub age_seconds: i64,
    /// Above this age the status is `stale`.
    pub threshold_seconds: u64,
    /// `ok` or `stale`.
    pub status: &'static str,
    /// Newest venue time, microseconds since 1970.
    pub newest_timestamp_us: i64,
    /// Events stored in hot since this process started.
    pub events_since_start: u64,
}

pub fn coverage_table(rows: &[CoverageRow], now_ns: i64) -> CoverageTable {
    let is_missing = |data_type: &&DataType| rows.iter().all(|row| row.data_type != **data_type);
    CoverageTable {
        coverage: rows.iter().map(|row| covered(row, now_ns)).collect(),
        nothing_of: DataType::ALL.iter().filter(is_missing).map(|data_type| data_type.as_str()).collect(),
    }
}

fn covered(row: &CoverageRow, now_ns: i64) -> Covered {
    let Arrived { last_success_ns, newest_timestamp_us, events } = row.arrived;
    let age_seconds = now_ns.saturating_sub(last_success_ns).max(0) / NANOS_PER_SECOND;
    let threshold_seconds = stale_after(row.data_type).as_secs();
    let is_stale = u64::try_from(age_seconds).unwrap_or(0) > threshold_seconds;
    Covered {
        exchange: row.exchange.clone(),
        data_type: row.data_type.as_str(),
        last_success_ts: last_success_ns / NANOS_PER_SECOND,
        age_seconds,
        threshold_seconds,
        status: if is_stale { "stale" } else { "ok" },
        newest_timestamp_us,
        events_since_start: events,
    }
}

/// Freshness of the data in hot by data type, then by exchange.
pub type HealthCoverage = BTreeMap<&'static str, BTreeMap<String, Freshness>>;

/// Freshness of one data type of one exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Freshness {
    /// Time at which the newest event was stored, seconds since 1970.
    pub last_success_ts: i64,
    /// Seconds since `last_success_ts`.
    pub age_seconds: i64,
    /// `ok` or `stale`.
    pub status: &'static str,
}

pub fn health_coverage(rows: &[CoverageRow], now_ns: i64) -> HealthCoverage {
    let mut coverage = HealthCoverage::new();
    for row in rows {
        let Covered { exchange, data_type, last_success_ts, age_seconds, status, .. } = covered(row, now_ns);
        let freshness = Freshness { last_success_ts, age_seconds, status };
        coverage.entry(data_type).or_default().insert(exchange, freshness);
    }
    coverage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hour_and_the_day_of_a_synthetic_stream_are_one_line_with_the_ids_that_are_missing() {
        let row = |edge: &str, hours: u8, expected: u64, stored: u64| SelfTestRow {
            edge: edge.to_owned(),
            symbol: format!("{}-1HZ", edge.to_uppercase()),
            hours,
            expected,
            stored,
            newest_us: 7_000_000,
            quantiles: vec![900, 1_500],
        };
        let states =
            selftest_states(vec![row("a", 1, 10, 10), row("a", 24, 50, 47), row("b", 24, 3, 3)], 9_900);
        let period =
            |expected, missing| Some(SelfTestPeriod { expected, missing, p50_us: 900, p99_us: 1_500 });
        let found: Vec<_> = states.iter().map(|state| (state.edge.as_str(), state.hour, state.day)).collect();
        assert_eq!(found, [("a", period(10, 0), period(50, 3)), ("b", None, period(3, 0))]);
        assert_eq!(states[0].age_seconds, 2);
    }

    #[test]
    fn rows_turn_stale_by_their_type_and_missing_types_are_named() {
        let row = |data_type| CoverageRow {
            exchange: "sim_spot".to_owned(),
            data_type,
            arrived: Arrived { last_success_ns: NANOS_PER_SECOND, newest_timestamp_us: 5, events: 2 },
            events_per_second: 0.0,
        };
        let rows = [row(DataType::Trade), row(DataType::FundingRate)];
        let at = |seconds: i64| coverage_table(&rows, seconds * NANOS_PER_SECOND);
        let statuses = |table: &CoverageTable| [0, 1].map(|index| table.coverage[index].status);
        assert_eq!(statuses(&at(61)), ["ok", "ok"]);
        assert_eq!(statuses(&at(62)), ["stale", "ok"]);
        assert_eq!(at(62).coverage[0].age_seconds, 61);
        assert_eq!(at(0).nothing_of.len(), 6);
        let health = serde_json::to_value(health_coverage(&rows, 62 * NANOS_PER_SECOND)).unwrap();
        let trade = serde_json::json!({ "last_success_ts": 1, "age_seconds": 61, "status": "stale" });
        assert_eq!(
            (&health["trade"]["sim_spot"], &health["funding_rate"]["sim_spot"]["status"]),
            (&trade, &"ok".into())
        );
    }
}
