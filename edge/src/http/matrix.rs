//! The matrix of `/coverage`: every data type of every exchange that is collected from, those that the venue does not offer among them.

use std::collections::BTreeMap;

use marketprism_adapter_host::contract::{Capability, Completeness, Delivery};
use marketprism_schema::{DataType, stale_after};
use serde_json::{Value, json};

use super::state::EdgeState;
use crate::contract::{data_type, market_type};
use crate::feed::FeedStatus;
use crate::telemetry::CoverageRow;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// One row for each data type of each exchange, in the order of the feeds and of [`DataType::ALL`].
pub(super) fn cells(state: &EdgeState, now_ns: i64) -> Vec<Value> {
    let mut exchanges: Vec<&str> = Vec::new();
    for feed in &state.feeds {
        if !exchanges.contains(&feed.exchange.as_str()) {
            exchanges.push(&feed.exchange);
        }
    }
    let rows: BTreeMap<(String, &str), CoverageRow> = state
        .coverage
        .rows(now_ns)
        .into_iter()
        .map(|row| ((row.exchange.clone(), row.data_type.as_str()), row))
        .collect();
    let mut cells = Vec::new();
    for exchange in exchanges {
        let feeds: Vec<&FeedStatus> =
            state.feeds.iter().map(AsRef::as_ref).filter(|feed| feed.exchange == exchange).collect();
        for kind in DataType::ALL {
            let row = rows.get(&(exchange.to_owned(), kind.as_str()));
            cells.push(cell(exchange, *kind, row, &feeds));
        }
    }
    cells
}

fn cell(exchange: &str, kind: DataType, row: Option<&CoverageRow>, feeds: &[&FeedStatus]) -> Value {
    let capability = feeds.iter().find_map(|feed| capability(feed, kind));
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
        let markets = capability.market_types.iter().map(|offered| market_type(*offered).as_str());
        fields.insert("market_types".into(), json!(markets.collect::<Vec<_>>()));
    }
    cell
}

fn capability(feed: &FeedStatus, kind: DataType) -> Option<&Capability> {
    let venue = feed.adapter.venue(&feed.exchange)?;
    venue.capabilities.iter().find(|capability| data_type(capability.data_type) == kind)
}

const fn delivery(capability: &Capability) -> &'static str {
    match capability.delivery {
        Delivery::Push => "push",
        Delivery::Poll => "poll",
    }
}
