//! `/coverage`: newest data per exchange and data type, and data types without any.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use marketprism_schema::{DataType, stale_after};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::clock;
use crate::coverage::{Arrived, CoverageRow};

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

/// Data in hot by exchange and data type.
#[utoipa::path(get, path = "/coverage", tag = "data", responses(
    (status = 200, description = "Coverage", body = CoverageTable),
))]
pub async fn serve(State(app): State<Arc<App>>) -> Json<CoverageTable> {
    Json(table(&app.shared.coverage.rows(), clock::now_ns()))
}

pub fn table(rows: &[CoverageRow], now_ns: i64) -> CoverageTable {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_turn_stale_by_their_type_and_missing_types_are_named() {
        let row = |data_type| CoverageRow {
            exchange: "sim_spot".to_owned(),
            data_type,
            arrived: Arrived { last_success_ns: NANOS_PER_SECOND, newest_timestamp_us: 5, events: 2 },
        };
        let rows = [row(DataType::Trade), row(DataType::FundingRate)];
        let at = |seconds: i64| table(&rows, seconds * NANOS_PER_SECOND);
        let statuses = |table: &CoverageTable| [0, 1].map(|index| table.coverage[index].status);
        assert_eq!(statuses(&at(61)), ["ok", "ok"]);
        assert_eq!(statuses(&at(62)), ["stale", "ok"]);
        assert_eq!(at(62).coverage[0].age_seconds, 61);
        assert_eq!(at(0).nothing_of.len(), 6);
    }
}
