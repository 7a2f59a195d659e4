//! Connections, polls, resyncs and budgets. The edge carries them out: an adapter has no clock and no socket.

use marketprism_adapter_sdk::{
    Connection, DataStream, DataType, Heartbeat, Instrument, LoadedFeed, Plan, Request, TextHeartbeat,
    TimeUnit, TradeRange, budget, charge, get, percent_encoded, resubscribe, venue_clock,
};

/// The venue allows 100 channels on a connection.
const CHANNELS_PER_CONNECTION: usize = 100;
const CONNECTS: &str = "template_spot.connects";
const REQUESTS: &str = "template_spot.requests";

pub(crate) fn plan(loaded: &LoadedFeed) -> Plan {
    let mut streams = Vec::new();
    for (index, instrument) in (0u32..).zip(&loaded.instruments) {
        for data_type in &loaded.feed.data_types {
            let channel = format!("{}.{}", channel(*data_type), instrument.venue_symbol);
            let stream = DataStream {
                data_type: *data_type,
                instrument: Some(index),
                // After a longer silence the edge subscribes again, then reconnects. Quiet pairs trade once a day.
                expected_silence_ms: if *data_type == DataType::Orderbook { 60_000 } else { 0 },
                resubscribe: vec![message("unsubscribe", &[&channel]), message("subscribe", &[&channel])],
            };
            streams.push((channel, stream));
        }
    }
    let mut plan = Plan {
        connections: Vec::new(),
        // REST requests that the edge repeats: none here.
        polls: Vec::new(),
        resyncs: Vec::new(),
        // Shared by all connections and requests that name it.
        budgets: vec![budget(CONNECTS, 10, 60_000), budget(REQUESTS, 10, 1_000)],
        // The edge measures the offset of its clock; None where the venue has no such request.
        clock: venue_clock(
            get(format!("{}/v1/time", loaded.endpoints.url("rest")), vec![charge(REQUESTS, 1)], 10_000),
            "/time_us",
            TimeUnit::Microseconds,
        ),
    };
    for (number, part) in (0u32..).zip(streams.chunks(CHANNELS_PER_CONNECTION)) {
        let channels: Vec<&str> = part.iter().map(|(channel, _)| channel.as_str()).collect();
        let books = part.iter().filter(|(_, stream)| stream.data_type == DataType::Orderbook);
        plan.resyncs.extend(books.filter_map(|(_, stream)| {
            // A venue with snapshots over REST has `ResyncAction::Request` here; the answer is a frame with a source number of its own.
            // The depth limit is `Some(n)` where the venue keeps n levels a side and does not remove the others explicitly.
            Some(resubscribe(stream.instrument?, number, stream.resubscribe.clone(), None))
        }));
        plan.connections.push(Connection {
            name: format!("stream-{}", number + 1),
            url: format!("{}/v1", loaded.endpoints.url("ws")),
            headers: Vec::new(),
            on_open: vec![message("subscribe", &channels)],
            heartbeat: Heartbeat::Text(TextHeartbeat {
                send: r#"{"op":"ping"}"#.to_owned(),
                every_ms: 20_000,
            }),
            idle_timeout_ms: 60_000,
            // The venue does not limit the age of a connection.
            max_age_ms: 0,
            messages_max: 5,
            messages_window_ms: 1000,
            charges: vec![charge(CONNECTS, 1)],
            streams: part.iter().map(|(_, stream)| stream.clone()).collect(),
        });
    }
    plan
}

/// The venue gives past trades one by one, in the form of the stream: the edge asks again for the rest of the range.
pub(crate) fn backfill(loaded: &LoadedFeed, instrument: &Instrument, trades: TradeRange) -> Request {
    let name = percent_encoded(&instrument.venue_symbol);
    let url = format!("{}/v1/trade?name={name}&id={}", loaded.endpoints.url("rest"), trades.first);
    get(url, vec![charge(REQUESTS, 1)], 10_000)
}

fn channel(data_type: DataType) -> &'static str {
    if data_type == DataType::Orderbook { "book" } else { "trades" }
}

fn message(op: &str, channels: &[&str]) -> String {
    format!(r#"{{"op":"{op}","channels":["{}"]}}"#, channels.join(r#"",""#))
}
