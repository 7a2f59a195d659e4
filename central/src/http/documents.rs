//! Documents of `/overview` and `/coverage`: incoming streams, their age, replication lag.

use std::collections::BTreeMap;

use marketprism_schema::{DataType, Table, stale_after};
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock;
use crate::context::CentralContext;
use crate::coverage::{Arrived, CoverageRow};
use crate::report::document::{BrokerStream, LeaseState, Unanswered};
use crate::report::sources::Answer;
use crate::report::sources::selftest::{BestClock, CountedIds, SelfTestRow, SelfTests};
use crate::report::sources::{systems, tables};
use crate::report::{Sources, Time, system_rules};

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
    /// Leases that one central must hold and none does, with the remedy.
    pub not_held: Vec<String>,
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
    /// Seconds since the newest trade, when the rows were read: at most half a minute ago.
    pub age_seconds: i64,
    /// The last hour; absent without a trade in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour: Option<SelfTestPeriod>,
    /// The last 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<SelfTestPeriod>,
    /// The latency compares the edge's clock with central's: it is as right as this. Absent: not measured in the last hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<SelfTestClock>,
}

/// Newest measurement of an edge's clock, against the venue with the least error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SelfTestClock {
    pub exchange: String,
    /// The edge's clock minus the venue's.
    pub offset_us: i64,
    /// Bound of its error, in both directions.
    pub error_us: i64,
}

/// A synthetic stream in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct SelfTestPeriod {
    /// Ids from the first to the last trade.
    pub expected: u64,
    /// Of them published and not in hot: lost, or on their way.
    pub missing: u64,
    /// Of them of times in which the edge did not run, as it reported.
    pub silent: u64,
    /// From a trade's time, by the edge's clock, to the start of its insert, by central's; median.
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

pub async fn overview(
    shared: &CentralContext,
    sources: &Sources,
    selftest: impl Future<Output = Answer<SelfTests>>,
) -> Overview {
    let now_ns = clock::now_ns();
    let rows = shared.coverage.rows(now_ns);
    let CoverageTable { coverage, nothing_of } = coverage_table(&rows, now_ns);
    let (streams, leases, marks, selftest) = tokio::join!(
        systems::streams(sources),
        systems::leases(sources),
        tables::watermarks(sources),
        selftest
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
    let not_held =
        leases.as_deref().map_or_else(|_| Vec::new(), |leases| not_held(leases, now_ns / 1_000_000));
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
        SelfTests::default()
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
        not_held,
        selftest: selftest_states(selftest),
        unanswered,
    }
}

fn selftest_states(SelfTests { read_ms, streams, pauses, clocks }: SelfTests) -> Vec<SelfTestState> {
    let state = |row: SelfTestRow| {
        let of_edge = clocks.iter().find(|clock| clock.edge == row.edge);
        let clock = |BestClock { exchange, offset_ns, error_ns, .. }: &BestClock| SelfTestClock {
            exchange: exchange.clone(),
            offset_us: offset_ns / 1_000,
            error_us: error_ns / 1_000,
        };
        SelfTestState {
            age_seconds: (read_ms - row.newest_us / 1_000).max(0) / 1_000,
            hour: selftest_period(row.of_hour(&pauses), &row.hour),
            day: selftest_period(row.of_day(&pauses), &row.day),
            clock: of_edge.map(clock),
            edge: row.edge,
            symbol: row.symbol,
        }
    };
    streams.into_iter().map(state).collect()
}

fn selftest_period(ids: Option<CountedIds>, quantiles: &[u64]) -> Option<SelfTestPeriod> {
    let (CountedIds { expected, missing, silent }, &[p50_us, p99_us]) = (ids?, quantiles) else {
        return None;
    };
    Some(SelfTestPeriod { expected, missing, silent, p50_us, p99_us })
}

fn not_held(leases: &[LeaseState], now_ms: i64) -> Vec<String> {
    let text = |(name, role): (&str, &str)| {
        format!("lease {name}: not held by any central, start one with --role all or {role}")
    };
    system_rules::not_held(leases, now_ms).map(text).collect()
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
    use crate::report::sources::selftest::{IdBucket, SelfTestPause};

    #[test]
    fn a_synthetic_stream_has_its_missing_ids_its_silences_and_the_clock_that_its_latency_rests_on() {
        let bucket =
            |bucket, first, last, stored| IdBucket { bucket, first, last, stored, holes: Vec::new() };
        let row = |edge: &str, buckets: Vec<IdBucket>| SelfTestRow {
            edge: edge.to_owned(),
            symbol: format!("{}-1HZ", edge.to_uppercase()),
            rate: 1,
            newest_us: 7_000_000,
            buckets,
            hour: vec![900, 1_500],
            day: vec![900, 1_500],
        };
        let clock = BestClock {
            edge: "a".to_owned(),
            exchange: "sim_spot".to_owned(),
            offset_ns: 5_000_000,
            error_ns: 2_000,
        };
        let pause = SelfTestPause {
            edge: "a".to_owned(),
            symbol: "A-1HZ".to_owned(),
            begin_ns: 31_000_000_000,
            end_ns: 41_000_000_000,
        };
        let states = selftest_states(SelfTests {
            read_ms: 9_900,
            streams: vec![
                row("a", vec![bucket(0, 41, 50, 10), bucket(9, 1, 30, 27)]),
                row("b", vec![bucket(9, 1, 3, 3)]),
            ],
            pauses: vec![pause],
            clocks: vec![clock],
        });
        let period = |expected, missing, silent| {
            Some(SelfTestPeriod { expected, missing, silent, p50_us: 900, p99_us: 1_500 })
        };
        let found: Vec<_> = states.iter().map(|state| (state.edge.as_str(), state.hour, state.day)).collect();
        assert_eq!(found, [("a", period(10, 0, 0), period(50, 3, 10)), ("b", None, period(3, 0, 0))]);
        assert_eq!(states[0].age_seconds, 2);
        let clocks: Vec<_> = states
            .iter()
            .map(|state| state.clock.as_ref().map(|clock| (clock.offset_us, clock.error_us)))
            .collect();
        assert_eq!(clocks, [Some((5_000, 2)), None]);
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
        assert_eq!(at(0).nothing_of.len(), 8);
        let health = serde_json::to_value(health_coverage(&rows, 62 * NANOS_PER_SECOND)).unwrap();
        let trade = serde_json::json!({ "last_success_ts": 1, "age_seconds": 61, "status": "stale" });
        assert_eq!(
            (&health["trade"]["sim_spot"], &health["funding_rate"]["sim_spot"]["status"]),
            (&trade, &"ok".into())
        );
    }
}
