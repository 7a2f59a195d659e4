//! Connections, resyncs and budgets of a feed. Limits are the venue's; `VENUE.md` names the source of each.

use crate::describe::DEPTHS;
use marketprism_adapter_sdk::{
    Connection, DataStream, DataType, Heartbeat, LoadedFeed, Plan, TextHeartbeat, budget, charge, resubscribe,
};

/// The venue documents no limit of subscriptions; a lost connection should not cost every book.
const INSTRUMENTS_PER_CONNECTION: usize = 100;
const CONNECTS: &str = "kraken_spot.connects";

pub(crate) fn plan(loaded: &LoadedFeed) -> Plan {
    let depth = DEPTHS.into_iter().find(|depth| *depth >= loaded.feed.depth).unwrap_or(1000);
    let mut plan = Plan {
        connections: Vec::new(),
        polls: Vec::new(),
        resyncs: Vec::new(),
        budgets: vec![budget(CONNECTS, 100, 600_000)],
    };
    let numbered: Vec<(u32, &str)> =
        (0u32..).zip(loaded.instruments.iter().map(|one| one.venue_symbol.as_str())).collect();
    for (number, part) in (0u32..).zip(numbered.chunks(INSTRUMENTS_PER_CONNECTION)) {
        let symbols: Vec<&str> = part.iter().map(|(_, symbol)| *symbol).collect();
        let mut on_open = Vec::new();
        let mut streams = Vec::new();
        for data_type in &loaded.feed.data_types {
            let message = |method: &str, symbols: &[&str]| message(method, *data_type, depth, symbols);
            on_open.push(message("subscribe", &symbols));
            streams.extend(part.iter().map(|(index, symbol)| DataStream {
                data_type: *data_type,
                instrument: Some(*index),
                // Rare pairs trade once a day; their quotes move within minutes.
                expected_silence_ms: if *data_type == DataType::Orderbook { 600_000 } else { 0 },
                resubscribe: vec![message("unsubscribe", &[symbol]), message("subscribe", &[symbol])],
            }));
        }
        let books = streams.iter().filter(|stream| stream.data_type == DataType::Orderbook);
        plan.resyncs.extend(books.filter_map(|stream| {
            Some(resubscribe(stream.instrument?, number, stream.resubscribe.clone(), Some(depth)))
        }));
        plan.connections.push(Connection {
            name: format!("v2-{}", number + 1),
            url: format!("{}/v2", loaded.endpoints.url("ws")),
            headers: Vec::new(),
            on_open,
            heartbeat: Heartbeat::Text(TextHeartbeat {
                send: r#"{"method":"ping"}"#.to_owned(),
                every_ms: 15_000,
            }),
            // With any subscription the venue sends a heartbeat every second.
            idle_timeout_ms: 40_000,
            max_age_ms: 0,
            messages_max: 2,
            messages_window_ms: 1000,
            charges: vec![charge(CONNECTS, 1)],
            streams,
        });
    }
    plan
}

/// Symbols are letters, digits and a slash: nothing in them needs an escape.
fn message(method: &str, data_type: DataType, depth: u32, symbols: &[&str]) -> String {
    let channel = match data_type {
        DataType::Orderbook => format!(r#""channel":"book","depth":{depth}"#),
        _ => r#""channel":"trade""#.to_owned(),
    };
    format!(r#"{{"method":"{method}","params":{{{channel},"symbol":["{}"]}}}}"#, symbols.join(r#"",""#))
}
