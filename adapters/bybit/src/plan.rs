//! Connections, polls, resyncs and budgets of a feed. Limits are the venue's; `VENUE.md` names the source of each.

use crate::describe::{SPOT, capabilities, offers};
use marketprism_adapter_sdk::{
    Budget, Connection, DataStream, DataType, Delivery, Heartbeat, Instrument, LoadedFeed, MarketType, Plan,
    Poll, Refusal, Request, Resync, TextHeartbeat, TimeUnit, VenueClock, budget, charge, data_type_name,
    numbered, poll, refusal, resubscribe, venue_clock,
};

/// The venue recommends few topics on one connection without a number; their names must stay below 21,000 bytes.
const TOPICS_PER_CONNECTION: usize = 200;
/// Spot allows 10 in a request. A wrong one may refuse its whole request, so contracts are subscribed alike.
const TOPICS_PER_REQUEST: usize = 10;

/// The venue counts both over a domain, so both exchange ids share them.
const CONNECTS: &str = "bybit.connects";
const REQUESTS: &str = "bybit.requests";

/// The period of the ratios, as the venue writes it; events have `5m`.
const RATIO_PERIOD: &str = "5min";
const RATIO_EVERY_MS: u32 = 60_000;

/// A topic, with the data types that its messages hold.
struct Topic {
    name: String,
    instrument: u32,
    market_type: MarketType,
    data_types: Vec<DataType>,
}

pub(crate) fn plan(loaded: &LoadedFeed) -> Result<Plan, Refusal> {
    let mut topics: Vec<Topic> = Vec::new();
    let mut polls = Vec::new();
    let numbered = numbered(&loaded.instruments);
    for capability in capabilities(&loaded.feed.exchange) {
        let data_type = capability.data_type;
        if !loaded.has(data_type) {
            continue;
        }
        let having = || numbered.iter().filter(|(_, instrument)| offers(&capability, instrument));
        if having().next().is_none() {
            let allowed = "with at least one instrument that has it";
            return Err(refusal("data_types", data_type_name(data_type), allowed));
        }
        if capability.delivery == Delivery::Poll {
            polls.extend(having().map(|(index, instrument)| ratio_poll(loaded, *index, instrument)));
            continue;
        }
        for (index, instrument) in having() {
            let name = topic(data_type, loaded.feed.depth, &instrument.venue_symbol);
            match topics.iter_mut().find(|known| known.instrument == *index && known.name == name) {
                Some(known) => known.data_types.push(data_type),
                None => topics.push(Topic {
                    name,
                    instrument: *index,
                    market_type: instrument.market_type,
                    data_types: vec![data_type],
                }),
            }
        }
    }
    let mut plan = Plan {
        connections: Vec::new(),
        polls,
        resyncs: Vec::new(),
        budgets: budgets(),
        clock: clock(loaded.endpoints.url("rest")),
    };
    for (number, part) in (0u32..).zip(topics.chunks(TOPICS_PER_CONNECTION)) {
        plan.connections.push(connection(loaded, number, part));
        plan.resyncs.extend(resyncs(loaded, number, part));
    }
    Ok(plan)
}

fn clock(rest: &str) -> Option<VenueClock> {
    venue_clock(get(format!("{rest}/v5/market/time")), "/result/timeNano", TimeUnit::Nanoseconds)
}

fn topic(data_type: DataType, depth: u32, symbol: &str) -> String {
    match data_type {
        DataType::Trade => format!("publicTrade.{symbol}"),
        DataType::Orderbook => format!("orderbook.{}.{symbol}", levels(depth)),
        DataType::Liquidation => format!("allLiquidation.{symbol}"),
        // Funding and open interest.
        _ => format!("tickers.{symbol}"),
    }
}

fn levels(depth: u32) -> u32 {
    if depth <= 50 { 50 } else { 200 }
}

fn connection(loaded: &LoadedFeed, number: u32, topics: &[Topic]) -> Connection {
    let path = if loaded.feed.exchange == SPOT { "spot" } else { "linear" };
    let requests = (1u32..).zip(topics.chunks(TOPICS_PER_REQUEST));
    let subscription = |(id, topics): (u32, &[Topic])| {
        message("subscribe", &topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), id)
    };
    Connection {
        name: format!("{path}-{}", number + 1),
        url: format!("{}/v5/public/{path}", loaded.endpoints.url("ws")),
        headers: Vec::new(),
        on_open: requests.map(subscription).collect(),
        heartbeat: Heartbeat::Text(TextHeartbeat { send: r#"{"op":"ping"}"#.to_owned(), every_ms: 20_000 }),
        // Three pings without an answer.
        idle_timeout_ms: 65_000,
        // The venue names no limit of age.
        max_age_ms: 0,
        // Nor of messages: this keeps 20 subscriptions within four seconds.
        messages_max: 5,
        messages_window_ms: 1000,
        charges: vec![charge(CONNECTS, 1)],
        streams: (0u32..).zip(topics).flat_map(|(place, topic)| streams(place, topic)).collect(),
    }
}

fn streams(place: u32, topic: &Topic) -> impl Iterator<Item = DataStream> {
    topic.data_types.iter().map(move |data_type| DataStream {
        data_type: *data_type,
        instrument: Some(topic.instrument),
        expected_silence_ms: expected_silence_ms(*data_type, topic.market_type),
        resubscribe: resubscription(place, topic),
    })
}

fn resubscription(place: u32, topic: &Topic) -> Vec<String> {
    // The ids of the first subscriptions stay below 1000.
    let id = 1000 + 2 * place;
    vec![message("unsubscribe", &[&topic.name], id), message("subscribe", &[&topic.name], id + 1)]
}

/// No recording of this venue shows how long its quiet streams pause, so these are generous. A ticker sends
/// what changed: a rate comes with each time of the next funding, at most 8 hours later, but open interest
/// may stay the same for as long as nobody trades.
fn expected_silence_ms(data_type: DataType, market_type: MarketType) -> u32 {
    match (data_type, market_type) {
        (DataType::Orderbook, MarketType::Perpetual) => 60_000,
        (DataType::Orderbook, _) => 300_000,
        (DataType::Trade, MarketType::Perpetual) => 3_600_000,
        (DataType::FundingRate, _) => 30_000_000,
        _ => 0,
    }
}

fn resyncs(loaded: &LoadedFeed, connection: u32, topics: &[Topic]) -> impl Iterator<Item = Resync> {
    let books = (0u32..).zip(topics).filter(|(_, topic)| topic.data_types == [DataType::Orderbook]);
    let depth = levels(loaded.feed.depth);
    // It is not documented that every level beyond the depth is removed explicitly.
    books.map(move |(place, topic)| {
        resubscribe(topic.instrument, connection, resubscription(place, topic), Some(depth))
    })
}

fn ratio_poll(loaded: &LoadedFeed, index: u32, instrument: &Instrument) -> Poll {
    let (rest, symbol) = (loaded.endpoints.url("rest"), &instrument.venue_symbol);
    let url = format!(
        "{rest}/v5/market/account-ratio?category=linear&symbol={symbol}&period={RATIO_PERIOD}&limit=1"
    );
    poll(DataType::LsrAllAccount, index, get(url), RATIO_EVERY_MS)
}

pub(crate) fn get(url: String) -> Request {
    marketprism_adapter_sdk::get(url, vec![charge(REQUESTS, 1)], 10_000)
}

/// Four fifths of the venue's limits: beyond these it blocks the address for 10 minutes.
fn budgets() -> Vec<Budget> {
    vec![budget(CONNECTS, 400, 300_000), budget(REQUESTS, 480, 5000)]
}

/// The topics of a message to subscribe.
pub(crate) fn topics_of(message: &str) -> Vec<&str> {
    let list = message.split_once(r#""args":[""#).and_then(|(_, list)| list.strip_suffix(r#""]}"#));
    list.map(|list| list.split(r#"",""#).collect()).unwrap_or_default()
}

pub(crate) fn message(op: &str, topics: &[&str], id: u32) -> String {
    format!(r#"{{"req_id":"{id}","op":"{op}","args":["{}"]}}"#, topics.join(r#"",""#))
}
