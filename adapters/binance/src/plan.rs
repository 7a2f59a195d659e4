//! What the edge has to open, send and ask for. Limits are the venue's; `VENUE.md` says where each is from.

use crate::exchange::{Exchange, capabilities};
use crate::polls;
use crate::stream::{self, Route};
use marketprism_adapter_sdk::{
    Budget, Charge, Connection, DataStream, DataType, Delivery, Endpoints, Feed, Heartbeat, Instrument,
    MarketType, Method, Plan, Refusal, Request, Resync, ResyncAction, data_type_name, market_type_name,
    refusal,
};

/// The venue allows 1024 on one connection and asks for fewer.
const STREAMS_PER_CONNECTION: usize = 200;
/// Keeps a subscribe message near 2 kB.
const STREAMS_PER_MESSAGE: usize = 100;
/// The venue closes connections after 24 hours.
const MAX_AGE_MS: u32 = 23 * 3_600_000;

/// One stream to subscribe to.
struct Stream {
    name: String,
    data_type: DataType,
    instrument: u32,
    market_type: MarketType,
}

/// A data type with the instruments that have it.
type Wanted<'a> = (DataType, Vec<(u32, &'a Instrument)>);

pub(crate) fn plan(
    exchange: Exchange,
    feed: &Feed,
    endpoints: &Endpoints,
    instruments: &[Instrument],
) -> Result<Plan, Refusal> {
    let numbered: Vec<(u32, &Instrument)> = (0u32..).zip(instruments).collect();
    let (mut pushed, mut polled): (Vec<Wanted<'_>>, Vec<Wanted<'_>>) = (Vec::new(), Vec::new());
    for capability in capabilities(exchange) {
        let data_type = capability.data_type;
        if !feed.data_types.contains(&data_type) {
            continue;
        }
        let offered = |instrument: &Instrument| capability.market_types.contains(&instrument.market_type);
        let having: Vec<(u32, &Instrument)> =
            numbered.iter().filter(|(_, instrument)| offered(instrument)).copied().collect();
        if having.is_empty() {
            let markets: Vec<&str> =
                capability.market_types.iter().map(|market_type| market_type_name(*market_type)).collect();
            let allowed = format!("with instruments of the market type {}", markets.join(" or "));
            return Err(refusal("data_types", data_type_name(data_type), allowed));
        }
        let kind = if capability.delivery == Delivery::Push { &mut pushed } else { &mut polled };
        kind.push((data_type, having));
    }
    // Funding is pushed, and read with a list that is polled.
    polled.extend(pushed.iter().filter(|(data_type, _)| *data_type == DataType::FundingRate).cloned());
    let books = feed.data_types.contains(&DataType::Orderbook);
    let resyncs = numbered.iter().filter(|_| books).map(|(index, instrument)| Resync {
        instrument: *index,
        action: ResyncAction::Request(depth_request(exchange, instrument, feed.depth, endpoints.url("rest"))),
        depth_limit: None,
    });
    Ok(Plan {
        connections: connections(exchange, &pushed, endpoints.url("ws"))?,
        polls: polls::polls(exchange, &polled, endpoints.url("rest")),
        resyncs: resyncs.collect(),
        budgets: budgets(exchange),
    })
}

/// The connections of each path, as many as its streams need.
fn connections(exchange: Exchange, pushed: &[Wanted<'_>], ws: &str) -> Result<Vec<Connection>, Refusal> {
    let mut routes: Vec<(Route, Vec<Stream>)> = Vec::new();
    for (data_type, instruments) in pushed {
        let served =
            stream::kind(exchange, *data_type).and_then(|kind| Some((kind, stream::route(exchange, kind)?)));
        let Some((kind, route)) = served else {
            return Err(refusal("data_types", data_type_name(*data_type), "a data type with a known stream"));
        };
        let streams = instruments.iter().map(|(index, instrument)| Stream {
            name: format!("{}@{kind}", instrument.venue_symbol.to_ascii_lowercase()),
            data_type: *data_type,
            instrument: *index,
            market_type: instrument.market_type,
        });
        match routes.iter_mut().find(|(known, _)| *known == route) {
            Some((_, known)) => known.extend(streams),
            None => routes.push((route, streams.collect())),
        }
    }
    let mut connections = Vec::new();
    for (route, streams) in &routes {
        for (number, part) in (1u32..).zip(streams.chunks(STREAMS_PER_CONNECTION)) {
            connections.push(connection(exchange, *route, number, part, ws));
        }
    }
    Ok(connections)
}

/// The request for the list of instruments.
pub(crate) fn exchange_info_request(exchange: Exchange, endpoints: &Endpoints) -> Request {
    let (path, weight) = match exchange {
        // Without the permission sets the answer is a fraction of its size.
        Exchange::Spot => ("/api/v3/exchangeInfo?showPermissionSets=false", 20),
        Exchange::UsdM => ("/fapi/v1/exchangeInfo", 1),
    };
    get(format!("{}{path}", endpoints.url("rest")), charge(exchange, weight), 60_000)
}

/// The request for a book's snapshot: twice the published depth where the venue has it, so that levels which
/// move away do not uncover unknown ones.
fn depth_request(exchange: Exchange, instrument: &Instrument, depth: u32, rest: &str) -> Request {
    let wanted = if depth > 1000 { depth } else { (depth * 2).min(1000) };
    let tiers: &[(u32, u32)] = match exchange {
        Exchange::Spot => &[(100, 5), (500, 25), (1000, 50), (5000, 250)],
        Exchange::UsdM => &[(50, 2), (100, 5), (500, 10), (1000, 20)],
    };
    let tier = tiers.iter().find(|(limit, _)| *limit >= wanted).or(tiers.last());
    let (limit, weight) = tier.copied().unwrap_or((1000, 50));
    let path = match exchange {
        Exchange::Spot => "/api/v3/depth",
        Exchange::UsdM => "/fapi/v1/depth",
    };
    let symbol = percent_encoded(&instrument.venue_symbol);
    get(format!("{rest}{path}?symbol={symbol}&limit={limit}"), charge(exchange, weight), 10_000)
}

pub(crate) fn get(url: String, charge: Charge, timeout_ms: u32) -> Request {
    Request { method: Method::Get, url, headers: Vec::new(), body: None, charges: vec![charge], timeout_ms }
}

/// A cost in the venue's request weight.
pub(crate) fn charge(exchange: Exchange, weight: u32) -> Charge {
    Charge { budget: weight_budget(exchange), units: weight }
}

fn weight_budget(exchange: Exchange) -> String {
    format!("{}.weight", exchange.id())
}

fn connects_budget(exchange: Exchange) -> String {
    format!("{}.connects", exchange.id())
}

fn budgets(exchange: Exchange) -> Vec<Budget> {
    let weight = match exchange {
        Exchange::Spot => 6000,
        Exchange::UsdM => 2400,
    };
    let mut budgets = vec![
        Budget { name: weight_budget(exchange), units: weight, window_ms: 60_000 },
        Budget { name: connects_budget(exchange), units: 300, window_ms: 300_000 },
    ];
    if exchange == Exchange::UsdM {
        budgets.extend(polls::budgets());
    }
    budgets
}

fn connection(exchange: Exchange, route: Route, number: u32, streams: &[Stream], ws: &str) -> Connection {
    // Spot allows 5 messages a second and closes on bursts of five; USD-M allows 10. Room is left for pongs.
    let (messages_max, idle_timeout_ms) = match exchange {
        // The venue pings every 20 seconds.
        Exchange::Spot => (3, 60_000),
        // The venue pings every 3 minutes, and a market without trades is silent in between.
        Exchange::UsdM => (8, 200_000),
    };
    let chunks = (1u32..).zip(streams.chunks(STREAMS_PER_MESSAGE));
    let on_open = chunks.map(|(id, part)| message("SUBSCRIBE", part, id)).collect();
    Connection {
        name: format!("{}-{number}", route.name),
        url: format!("{ws}{}", route.path),
        headers: Vec::new(),
        on_open,
        heartbeat: Heartbeat::Passive,
        idle_timeout_ms,
        max_age_ms: MAX_AGE_MS,
        messages_max,
        messages_window_ms: 1000,
        charges: vec![Charge { budget: connects_budget(exchange), units: 1 }],
        streams: (0u32..).zip(streams).map(|(index, stream)| data_stream(exchange, stream, index)).collect(),
    }
}

fn data_stream(exchange: Exchange, stream: &Stream, index: u32) -> DataStream {
    let alone = std::slice::from_ref(stream);
    // Ids of on-open messages stay below 1000.
    let id = 1000 + 2 * index;
    DataStream {
        data_type: stream.data_type,
        instrument: Some(stream.instrument),
        expected_silence_ms: expected_silence_ms(exchange, stream.data_type, stream.market_type),
        resubscribe: vec![message("UNSUBSCRIBE", alone, id), message("SUBSCRIBE", alone, id + 1)],
    }
}

/// Even quiet pairs change their book within seconds (19 s was the longest pause in a recording of a thin
/// spot pair, 2 s on USD-M). A pair without trades for hours is normal on spot; on a perpetual ten minutes
/// are a sign of a stream on a path that does not serve it, on a dated contract an hour, and asking again
/// costs two messages. Mark prices come every second. Liquidations may not come for days.
fn expected_silence_ms(exchange: Exchange, data_type: DataType, market_type: MarketType) -> u32 {
    match (exchange, data_type, market_type) {
        (Exchange::Spot, DataType::Orderbook, _) => 60_000,
        (Exchange::UsdM, DataType::Orderbook, _) => 30_000,
        (Exchange::UsdM, DataType::Trade, MarketType::Perpetual) => 600_000,
        (Exchange::UsdM, DataType::Trade, _) => 3_600_000,
        (Exchange::UsdM, DataType::FundingRate, _) => 15_000,
        _ => 0,
    }
}

fn message(method: &str, streams: &[Stream], id: u32) -> String {
    let names: Vec<String> = streams.iter().map(|stream| json_text(&stream.name)).collect();
    format!(r#"{{"method":"{method}","params":[{}],"id":{id}}}"#, names.join(","))
}

fn json_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Symbols may hold letters beyond ASCII.
pub(crate) fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
