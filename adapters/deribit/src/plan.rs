//! Connections, polls, resyncs and budgets of a feed, and the JSON-RPC texts that they send. Limits are the venue's; `VENUE.md` names the
//! source of each.

use crate::channels;
use crate::describe::{EXCHANGE, coin_of_index, markets};
use crate::instruments::needs_lists;
use marketprism_adapter_sdk::{
    Answer, Budget, Charge, Connection, DataStream, DataType, Endpoints, Feed, Heartbeat, Instrument,
    LoadedFeed, MarketType, Plan, Poll, Refusal, Request, TimeUnit, TimeWindow, TradeRange, VenueClock,
    budget, charge, get, numbered, poll, refusal, resubscribe, venue_clock,
};
use std::collections::BTreeMap;

/// The safe choice: the venue documents no limit, but others report one on what it sends.
const CHANNELS_PER_CONNECTION: usize = 200;
/// Subscriptions are charged by the request, so that each names many; keeps a message near 4 kB.
const CHANNELS_PER_REQUEST: usize = 100;
/// The venue allows 32 connections from one address, REST included.
const CONNECTIONS_MAX: usize = 28;
/// The venue's heartbeat comes every 30 seconds: two are missing.
const IDLE_TIMEOUT_MS: u32 = 75_000;

/// The window of trades that is polled: the venue marks forced ones about an hour late.
const WINDOW_FROM_AGO_MS: u32 = 90 * 60_000;
pub(crate) const WINDOW_TO_AGO_MS: u32 = 60 * 60_000;
pub(crate) const FROM_PARAMETER: &str = "start_timestamp";
pub(crate) const TO_PARAMETER: &str = "end_timestamp";
/// Every trade is polled six times while it is in the window.
const LIQUIDATION_PERIOD_MS: u32 = 300_000;

/// Rows of an answer of trades, at most.
const TRADES_PER_PAGE: u64 = 1000;

/// Credits of a subscription, and of any other public request.
const SUBSCRIBE_CREDITS: u32 = 3000;
const REQUEST_CREDITS: u32 = 500;

/// The channels of each subscription, by connection and request id.
pub(crate) type SubscribedChannels = BTreeMap<(u32, u64), Vec<String>>;

/// A channel, and the data types that it carries for its instrument.
struct PlannedChannel {
    name: String,
    instrument: u32,
    market: MarketType,
    data_types: Vec<DataType>,
}

pub(crate) fn plan(loaded: &LoadedFeed) -> Result<(Plan, SubscribedChannels), Refusal> {
    let LoadedFeed { feed, endpoints, instruments, .. } = loaded;
    let numbered = numbered(instruments);
    let channels: Vec<PlannedChannel> =
        numbered.iter().flat_map(|(index, instrument)| channels_of(feed, *index, instrument)).collect();
    if channels.len().div_ceil(CHANNELS_PER_CONNECTION) > CONNECTIONS_MAX {
        let most = CONNECTIONS_MAX * CHANNELS_PER_CONNECTION;
        return Err(refusal(
            "symbols",
            format!("{} channels", channels.len()),
            format!(
                "at most {most}: {CONNECTIONS_MAX} connections of {CHANNELS_PER_CONNECTION}; name fewer symbols or market types"
            ),
        ));
    }
    let mut plan = Plan {
        connections: Vec::new(),
        polls: Vec::new(),
        resyncs: Vec::new(),
        budgets: budgets(),
        clock: clock(endpoints.url("rest")),
    };
    let mut subscribed = SubscribedChannels::new();
    for (index, part) in (0u32..).zip(channels.chunks(CHANNELS_PER_CONNECTION)) {
        connect(&mut plan, &mut subscribed, index, part, endpoints.url("ws"));
    }
    if loaded.has(DataType::Liquidation) {
        let offered = markets(DataType::Liquidation);
        let polled = numbered.iter().filter(|(_, one)| offered.contains(&one.market_type));
        plan.polls = polled.map(|(index, one)| trades_poll(*index, one, endpoints.url("rest"))).collect();
    }
    if plan.connections.is_empty() && plan.polls.is_empty() {
        return Err(refusal(
            "data_types",
            "nothing to collect",
            "a data type that one of the instruments has",
        ));
    }
    Ok((plan, subscribed))
}

pub(crate) fn instrument_requests(feed: &Feed, endpoints: &Endpoints, answers: &[Answer]) -> Vec<Request> {
    if !answers.is_empty() || !needs_lists(feed) {
        return Vec::new();
    }
    let wanted = |market: MarketType| match feed.market_types.as_slice() {
        [] => market != MarketType::Options,
        named => named.contains(&market),
    };
    let mut kinds = Vec::new();
    if wanted(MarketType::Perpetual) || wanted(MarketType::Futures) {
        kinds.push("future");
    }
    if wanted(MarketType::Options) {
        kinds.push("option");
    }
    let url =
        |kind| format!("{}/api/v2/public/get_instruments?currency=any&kind={kind}", endpoints.url("rest"));
    kinds.into_iter().map(|kind| get(url(kind), vec![pool_charge("instruments", 1)], 60_000)).collect()
}

pub(crate) fn summary_request(endpoints: &Endpoints, currency: &str, kind: &str) -> Request {
    let path = "/api/v2/public/get_book_summary_by_currency";
    let url = format!("{}{path}?currency={currency}&kind={kind}", endpoints.url("rest"));
    get(url, vec![pool_charge("requests", REQUEST_CREDITS)], 60_000)
}

fn clock(rest: &str) -> Option<VenueClock> {
    let charges = vec![pool_charge("requests", REQUEST_CREDITS)];
    venue_clock(
        get(format!("{rest}/api/v2/public/get_time"), charges, 10_000),
        "/result",
        TimeUnit::Milliseconds,
    )
}

/// The channels of an instrument. Tickers carry funding and open interest.
fn channels_of(feed: &Feed, index: u32, instrument: &Instrument) -> Vec<PlannedChannel> {
    let volatility = coin_of_index(instrument.venue_symbol.as_bytes()).is_some();
    let carried = [
        DataType::Orderbook,
        DataType::Trade,
        DataType::FundingRate,
        DataType::OpenInterest,
        DataType::VolatilityIndex,
    ];
    let mut channels: Vec<PlannedChannel> = Vec::new();
    for data_type in carried {
        let offered = markets(data_type).contains(&instrument.market_type);
        if !feed.data_types.contains(&data_type)
            || !offered
            || volatility != (data_type == DataType::VolatilityIndex)
        {
            continue;
        }
        let Some(name) = channels::name(data_type, &instrument.venue_symbol) else { continue };
        match channels.iter_mut().find(|channel| channel.name == name) {
            Some(channel) => channel.data_types.push(data_type),
            None => channels.push(PlannedChannel {
                name,
                instrument: index,
                market: instrument.market_type,
                data_types: vec![data_type],
            }),
        }
    }
    channels
}

fn connect(
    plan: &mut Plan,
    subscribed: &mut SubscribedChannels,
    index: u32,
    channels: &[PlannedChannel],
    ws: &str,
) {
    let mut on_open = vec![set_heartbeat()];
    for (position, part) in (0u32..).zip(channels.chunks(CHANNELS_PER_REQUEST)) {
        let names: Vec<String> = part.iter().map(|channel| channel.name.clone()).collect();
        let id = 100 + u64::from(position);
        on_open.push(message("subscribe", id, &names));
        subscribed.insert((index, id), names);
    }
    let subscriptions = u32::try_from(on_open.len()).unwrap_or(u32::MAX).saturating_sub(1);
    let mut streams = Vec::new();
    for (position, channel) in (0u32..).zip(channels) {
        // Ids of opening subscriptions stay below 1000.
        let leave = 1000 + 2 * u64::from(position);
        let join = leave + 1;
        let alone = std::slice::from_ref(&channel.name);
        let messages = vec![message("unsubscribe", leave, alone), message("subscribe", join, alone)];
        subscribed.insert((index, join), alone.to_vec());
        if channel.data_types.contains(&DataType::Orderbook) {
            plan.resyncs.push(resubscribe(channel.instrument, index, messages.clone(), None));
        }
        streams.extend(channel.data_types.iter().map(|data_type| DataStream {
            data_type: *data_type,
            instrument: Some(channel.instrument),
            expected_silence_ms: expected_silence_ms(*data_type, channel.market),
            resubscribe: messages.clone(),
        }));
    }
    plan.connections.push(Connection {
        name: format!("public-{}", index + 1),
        url: format!("{ws}/ws/api/v2"),
        headers: Vec::new(),
        on_open,
        // The venue asks, `public/test` answers.
        heartbeat: Heartbeat::Passive,
        idle_timeout_ms: IDLE_TIMEOUT_MS,
        max_age_ms: 0,
        messages_max: 3,
        messages_window_ms: 1000,
        charges: vec![
            pool_charge("connects", 1),
            pool_charge("subscriptions", SUBSCRIBE_CREDITS * subscriptions),
        ],
        streams,
    });
}

/// A perpetual's book and ticker change within seconds, its mark price at least. Dated futures are thinner, and options and trades can
/// rest for hours.
fn expected_silence_ms(data_type: DataType, market: MarketType) -> u32 {
    match (data_type, market) {
        (DataType::VolatilityIndex, _) => 120_000,
        (DataType::Trade, _) | (_, MarketType::Options) => 0,
        (_, MarketType::Perpetual) => 60_000,
        _ => 300_000,
    }
}

fn trades_poll(index: u32, instrument: &Instrument, rest: &str) -> Poll {
    let path = "/api/v2/public/get_last_trades_by_instrument_and_time";
    let url = format!("{rest}{path}?instrument_name={}&count=1000&sorting=asc", instrument.venue_symbol);
    let request = get(url, vec![pool_charge("requests", REQUEST_CREDITS)], 10_000);
    let window = TimeWindow {
        from_parameter: FROM_PARAMETER.to_owned(),
        to_parameter: TO_PARAMETER.to_owned(),
        from_ago_ms: WINDOW_FROM_AGO_MS,
        to_ago_ms: WINDOW_TO_AGO_MS,
    };
    Poll { window: Some(window), ..poll(DataType::Liquidation, index, request, LIQUIDATION_PERIOD_MS) }
}

/// Past trades by `trade_seq`. The main host keeps about a day of them.
pub(crate) fn backfill(
    loaded: &LoadedFeed,
    instrument: &Instrument,
    TradeRange { first, last, .. }: TradeRange,
) -> Result<Request, Refusal> {
    let name = &instrument.venue_symbol;
    if coin_of_index(name.as_bytes()).is_some() {
        return Err(refusal("backfill", name, "an instrument: an index has no trades"));
    }
    let path = "/api/v2/public/get_last_trades_by_instrument";
    let rest = loaded.endpoints.url("rest");
    let count = last.saturating_sub(first).saturating_add(1).min(TRADES_PER_PAGE);
    let url = format!(
        "{rest}{path}?instrument_name={name}&start_seq={first}&end_seq={last}&count={count}&sorting=asc"
    );
    Ok(get(url, vec![pool_charge("requests", REQUEST_CREDITS)], 10_000))
}

fn pool_charge(name: &str, units: u32) -> Charge {
    charge(format!("{EXCHANGE}.{name}"), units)
}

/// Pools that refill become windows in which no more than the pool holds is used, and no more than flows back.
fn budgets() -> Vec<Budget> {
    let budget = |name: &str, units, window_ms| budget(format!("{EXCHANGE}.{name}"), units, window_ms);
    vec![
        budget("connects", 32, 60_000),
        // A pool of 30,000 credits that refills at 10,000 a second.
        budget("subscriptions", 24_000, 3_000),
        // A pool of 50,000 credits that refills at 10,000 a second.
        budget("requests", 40_000, 5_000),
        // One a second, bursts of 50.
        budget("instruments", 5, 5_000),
    ]
}

/// Between the venue's heartbeats, each followed by a test request that must be answered.
const HEARTBEAT_SECONDS: u32 = 30;

const HEARTBEAT_ID: u64 = 1;
const TEST_ID: u64 = 2;

fn set_heartbeat() -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{HEARTBEAT_ID},"method":"public/set_heartbeat","params":{{"interval":{HEARTBEAT_SECONDS}}}}}"#
    )
}

/// The answer to a `test_request`; without it the venue closes the connection.
pub(crate) fn test_message() -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{TEST_ID},"method":"public/test"}}"#)
}

/// Names of channels hold letters, digits and a few signs only, so they need no escapes.
fn message(method: &str, id: u64, channels: &[String]) -> String {
    let list = channels.join("\",\"");
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"public/{method}","params":{{"channels":["{list}"]}}}}"#)
}
