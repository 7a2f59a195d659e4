//! What `/coverage` answers: what arrived in hot, how old it is, and what is not there at all.

use marketprism_schema::{DataType, stale_after};
use serde_json::{Value, json};

use crate::coverage::{Arrived, CoverageRow};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The whole table. Data types of which nothing ever arrived are listed apart.
pub fn report(rows: &[CoverageRow], now_ns: i64) -> Value {
    let missing: Vec<&str> = DataType::ALL
        .iter()
        .filter(|data_type| rows.iter().all(|row| row.data_type != **data_type))
        .map(|data_type| data_type.as_str())
        .collect();
    json!({
        "coverage": rows.iter().map(|row| row_json(row, now_ns)).collect::<Vec<_>>(),
        "nothing_of": missing,
    })
}

fn row_json(row: &CoverageRow, now_ns: i64) -> Value {
    let Arrived { last_success_ns, newest_timestamp_us, events } = row.arrived;
    let age_seconds = now_ns.saturating_sub(last_success_ns).max(0) / NANOS_PER_SECOND;
    let threshold_seconds = stale_after(row.data_type).as_secs();
    let is_stale = u64::try_from(age_seconds).unwrap_or(0) > threshold_seconds;
    json!({
        "exchange": row.exchange,
        "data_type": row.data_type.as_str(),
        "last_success_ts": last_success_ns / NANOS_PER_SECOND,
        "age_seconds": age_seconds,
        "threshold_seconds": threshold_seconds,
        "status": if is_stale { "stale" } else { "ok" },
        "newest_timestamp_us": newest_timestamp_us,
        "events_since_start": events,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a type turns stale past its own threshold, and types that never arrived are named.
    #[test]
    fn rows_turn_stale_by_their_type_and_missing_types_are_named() {
        let row = |data_type| CoverageRow {
            exchange: "sim_spot".to_owned(),
            data_type,
            arrived: Arrived { last_success_ns: NANOS_PER_SECOND, newest_timestamp_us: 5, events: 2 },
        };
        let rows = [row(DataType::Trade), row(DataType::FundingRate)];
        let at = |seconds: i64| report(&rows, seconds * NANOS_PER_SECOND);
        let statuses = |answer: &Value| {
            [0, 1].map(|index| answer["coverage"][index]["status"].as_str().unwrap().to_owned())
        };
        assert_eq!(statuses(&at(61)), ["ok", "ok"]);
        assert_eq!(statuses(&at(62)), ["stale", "ok"]);
        assert_eq!(at(62)["coverage"][0]["age_seconds"], 61);
        assert_eq!(at(0)["nothing_of"].as_array().unwrap().len(), 6);
    }
}
