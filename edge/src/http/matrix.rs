//! The matrix of `/coverage`: every data type of every configured exchange, offered or not.

use marketprism_adapter_host::contract::{Capability, Completeness, Delivery};
use marketprism_schema::{DataType, MarketType, stale_after};
use serde_json::{Value, json};

use super::state::EdgeState;
use crate::feed::FeedStatus;
use crate::telemetry::CoverageRow;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

pub(super) fn cells(state: &EdgeState, now_ns: i64) -> Vec<Value> {
    let mut exchanges: Vec<&str> = Vec::new();
    for feed in &state.feeds {
        if !exchanges.contains(&feed.exchange.as_str()) {
            exchanges.push(&feed.exchange);
        }
    }
    let rows = state.coverage.rows(now_ns);
    let mut cells = Vec::new();
    for exchange in exchanges {
        let feeds: Vec<&FeedStatus> =
            state.feeds.iter().map(AsRef::as_ref).filter(|feed| feed.exchange == exchange).collect();
        for kind in DataType::ALL {
            let row = rows.iter().find(|row| row.exchange == exchange && row.data_type == *kind);
            cells.push(cell(exchange, *kind, row, &feeds));
        }
    }
    cells
}

fn cell(exchange: &str, kind: DataType, row: Option<&CoverageRow>, feeds: &[&FeedStatus]) -> Value {
    let capability = feeds.iter().find_map(|feed| feed.adapter.venue(&feed.exchange)?.capability(kind));
    let status = match (row, capability) {
        (Some(row), _) => row.status,
        (None, Some(_)) => "not_collected",
        (None, None) => "unsupported",
    };
    let mut cell = json!({ "exchange": exchange, "data_type": kind.as_str(), "status": status });
    let Some(fields) = cell.as_object_mut() else { return cell };
    if let Some(row) = row {
        fields.insert("last_success_ts".into(), json!(row.last_success_ns.map(|at| at / NANOS_PER_SECOND)));
        fields.insert("age_seconds".into(), json!(row.age_seconds));
        fields.insert("threshold_seconds".into(), json!(stale_after(kind).as_secs()));
    }
    if let Some(capability) = capability {
        let delay_ms = feeds.iter().filter_map(|feed| feed.delay_ms(kind)).max();
        fields.insert("delivery".into(), json!(delivery(capability)));
        fields.insert("lower_bound".into(), json!(capability.completeness == Completeness::LowerBound));
        fields.insert("delayed_seconds".into(), json!(delay_ms.map(|ms| ms / 1_000)));
        let markets = capability.market_types.iter().map(|offered| MarketType::from(*offered).as_str());
        fields.insert("market_types".into(), json!(markets.collect::<Vec<_>>()));
    }
    cell
}

const fn delivery(capability: &Capability) -> &'static str {
    match capability.delivery {
        Delivery::Push => "push",
        Delivery::Poll => "poll",
    }
}
