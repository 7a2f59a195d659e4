//! The command `adapter inspect`: identity and capabilities of an adapter as JSON.

use marketprism_adapter_host::Adapter;
use marketprism_adapter_host::contract::Venue;
use marketprism_schema::{DataType, MarketType};
use serde_json::{Value, json};

pub(super) fn describe(adapter: &Adapter) -> String {
    let description = adapter.description();
    let value = json!({
        "id": adapter.id(),
        "name": description.name,
        "version": description.version,
        "digest": adapter.digest(),
        "contract": adapter.contract(),
        "venues": description.venues.iter().map(venue).collect::<Vec<_>>(),
    });
    format!("{value:#}")
}

fn venue(venue: &Venue) -> Value {
    let capabilities: Vec<Value> = venue
        .capabilities
        .iter()
        .map(|capability| {
            json!({
                "data_type": DataType::from(capability.data_type).as_str(),
                "delivery": lower(&capability.delivery),
                "sequence": lower(&capability.sequence),
                "checksum": lower(&capability.checksum),
                "snapshot": lower(&capability.snapshot),
                "contiguous_trade_ids": capability.contiguous_trade_ids,
                "backfill": capability.backfill,
                "completeness": lower(&capability.completeness),
                "max_depth": capability.max_depth,
            })
        })
        .collect();
    let endpoints: serde_json::Map<String, Value> = venue
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.name.clone(), Value::from(endpoint.default_url.as_str())))
        .collect();
    json!({
        "exchange": venue.exchange,
        "market_types": venue.market_types.iter().map(|kind| MarketType::from(*kind).as_str()).collect::<Vec<_>>(),
        "capabilities": capabilities,
        "endpoints": endpoints,
    })
}

/// The contract's name of a case, from its `Debug` form (with or without the type).
fn lower(case: &impl std::fmt::Debug) -> String {
    let name = format!("{case:?}");
    let name = name.rsplit("::").next().unwrap_or_default();
    let mut words = String::with_capacity(name.len() + 4);
    for (index, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            words.push('_');
        }
        words.extend(letter.to_lowercase());
    }
    words
}
