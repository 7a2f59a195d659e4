//! Descriptions of configurations and adapters for the terminal.

use std::fmt::Write;

use marketprism_adapter_host::Adapter;
use marketprism_adapter_host::contract::Venue;
use serde_json::{Value, json};

use crate::config::{Adapters, Config};
use marketprism_schema::{DataType, MarketType};

pub fn summary(config: &Config) -> String {
    let mut text = String::from("configuration is valid\n");
    // Writing to a string does not fail.
    let _ = writeln!(text, "edge {} in {}, nats {}", config.name, config.region, config.nats.shown_urls());
    for feed in &config.feeds {
        let data_types: Vec<&str> = feed.data_types.iter().map(|kind| kind.as_str()).collect();
        let _ = writeln!(
            text,
            "feed {}: {} of {}, adapter {}",
            feed.exchange,
            data_types.join(", "),
            feed.symbols.join(", "),
            feed.adapter.display()
        );
    }
    let _ = writeln!(text, "http on {}, metrics on {}", config.http.listen, config.http.metrics_listen);
    text
}

/// One line per feed: id of the adapter, exchange, file.
pub fn list(config: &Config, adapters: &Adapters) -> String {
    let mut text = String::new();
    for feed in &config.feeds {
        let id = adapters.get(&feed.adapter).map_or("?", Adapter::id);
        let _ = writeln!(text, "{id}  {}  {}", feed.exchange, feed.adapter.display());
    }
    text
}

pub fn describe(adapter: &Adapter) -> String {
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
