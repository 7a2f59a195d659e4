//! Connections, resyncs and budgets of a feed. Limits are the venue's; `VENUE.md` names the source of each.

use crate::describe::DEPTHS;
use marketprism_adapter_sdk::{
    Connection, DataStream, DataType, Heartbeat, LoadedFeed, Plan, TextHeartbeat, TimeUnit, budget, charge,
    get, resubscribe, venue_clock,
};

/// The venue documents no limit of subscriptions; a lost connection should not cost every book.
const INSTRUMENTS_PER_CONNECTION: usize = 100;
const CONNECTS: &str = "kraken_spot.connects";
const REQUESTS: &str = "kraken_spot.requests";

pub(crate) fn plan(loaded: &LoadedFeed) -> Plan {
    let depth = DEPTHS.into_iter().find(|depth| *depth >= loaded.feed.depth).unwrap_or(1000);
    let mut plan = Plan {
        connections: Vec::new(),
        polls: Vec::new(),
        resyncs: Vec::new(),
        // The venue counts one public request a second.
        budgets: vec![budget(CONNECTS, 100, 600_000), budget(REQUESTS, 5, 5_000)],
        clock: venue_clock(
            get(format!("{}/0/public/Time", loaded.endpoints.url("rest")), vec![charge(REQUESTS, 1)], 10_000),
            "/result/unixtime",
            TimeUnit::Seconds,
        ),
    };
    let numbered: Vec<(u32, &str)> =
        (0u32..).zip(loaded.instruments.iter().map(|one| one.venue_symbol.as_str())).collect();
    // A message of trades that nobody can read costs no book of its connection.
    for data_type in &loaded.feed.data_types {
        for (number, part) in (1u32..).zip(numbered.chunks(INSTRUMENTS_PER_CONNECTION)) {
            connect(&mut plan, loaded, (*data_type, depth), (number, part));
        }
    }
    plan
}

/// Adds a connection with the streams of some pairs, and the resyncs of their books.
fn connect(
    plan: &mut Plan,
    loaded: &LoadedFeed,
    (data_type, depth): (DataType, u32),
    (number, part): (u32, &[(u32, &str)]),
) {
    let is_book = data_type == DataType::Orderbook;
    let message = |method: &str, symbols: &[&str]| message(method, data_type, depth, symbols);
    let streams: Vec<DataStream> = part
        .iter()
        .map(|(index, symbol)| DataStream {
            data_type,
            instrument: Some(*index),
            // Rare pairs trade once a day; their quotes move within minutes.
            expected_silence_ms: if is_book { 600_000 } else { 0 },
            resubscribe: vec![message("unsubscribe", &[symbol]), message("subscribe", &[symbol])],
        })
        .collect();
    let connection = u32::try_from(plan.connections.len()).unwrap_or_default();
    let books = streams.iter().filter(|_| is_book);
    plan.resyncs.extend(books.filter_map(|stream| {
        Some(resubscribe(stream.instrument?, connection, stream.resubscribe.clone(), Some(depth)))
    }));
    let symbols: Vec<&str> = part.iter().map(|(_, symbol)| *symbol).collect();
    plan.connections.push(Connection {
        name: format!("{}-{number}", if is_book { "book" } else { "trade" }),
        url: format!("{}/v2", loaded.endpoints.url("ws")),
        headers: Vec::new(),
        on_open: vec![message("subscribe", &symbols)],
        heartbeat: Heartbeat::Text(TextHeartbeat {
            send: r#"{"method":"ping"}"#.to_owned(),
            every_ms: 15_000,
        }),
        // With any subscription the venue sends a heartbeat every second. Shorter than the interval of pings: a connection on which the venue
        // confirms subscriptions, answers pings and sends nothing else is replaced.
        idle_timeout_ms: 10_000,
        max_age_ms: 0,
        messages_max: 2,
        messages_window_ms: 1000,
        charges: vec![charge(CONNECTS, 1)],
        streams,
    });
}

/// Symbols are letters, digits and a slash: nothing in them needs an escape.
fn message(method: &str, data_type: DataType, depth: u32, symbols: &[&str]) -> String {
    let channel = match data_type {
        DataType::Orderbook => format!(r#""channel":"book","depth":{depth}"#),
        // The last fifty trades are what a lost connection missed.
        _ if method == "subscribe" => r#""channel":"trade","snapshot":true"#.to_owned(),
        _ => r#""channel":"trade""#.to_owned(),
    };
    format!(r#"{{"method":"{method}","params":{{{channel},"symbol":["{}"]}}}}"#, symbols.join(r#"",""#))
}
