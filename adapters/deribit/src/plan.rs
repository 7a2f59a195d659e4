//! What the edge has to open, send and ask for. Limits are the venue's; `VENUE.md` says where each is from.

use crate::channels;
use crate::exchange::{EXCHANGE, coin_of_index, markets};
use crate::instruments::needs_lists;
use crate::rpc;
use marketprism_adapter_sdk::{
    Budget, Charge, Connection, DataStream, DataType, Endpoints, Feed, Heartbeat, Instrument, MarketType,
    Method, Plan, Poll, Refusal, Request, Resubscription, Resync, ResyncAction, TimeWindow, refusal,
};
use std::collections::BTreeMap;

/// The safe choice: the venue names no limit, but one on what it sends is told of.
const CHANNELS_PER_CONNECTION: usize = 200;
/// Subscriptions are charged by the request, so that each names many; keeps a message near 4 kB.
const CHANNELS_PER_REQUEST: usize = 100;
/// The venue allows 32 connections from one address, REST included.
const CONNECTIONS_MAX: usize = 28;
/// The venue's heartbeat comes every 30 seconds: two are missing.
const IDLE_TIMEOUT_MS: u32 = 75_000;

/// Forced trades are looked for this long ago: the venue marks them about an hour late.
const WINDOW_FROM_AGO_MS: u32 = 90 * 60_000;
pub(crate) const WINDOW_TO_AGO_MS: u32 = 60 * 60_000;
pub(crate) const FROM_PARAMETER: &str = "start_timestamp";
pub(crate) const TO_PARAMETER: &str = "end_timestamp";
/// Six looks at every trade while it is in the window.
const LIQUIDATION_PERIOD_MS: u32 = 300_000;

/// Credits of a subscription, and of any other public request.
const SUBSCRIBE_CREDITS: u32 = 3000;
const REQUEST_CREDITS: u32 = 500;

/// A plan with what its subscriptions ask for.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// The channels of a subscription, by connection and id.
    pub(crate) asked: BTreeMap<(u32, u64), Vec<String>>,
}

/// A channel, and the data types that it carries for its instrument.
struct Channel {
    name: String,
    instrument: u32,
    market: MarketType,
    data_types: Vec<DataType>,
}

pub(crate) fn plan(
    feed: &Feed,
    endpoints: &Endpoints,
    instruments: &[Instrument],
) -> Result<Planned, Refusal> {
    let channels: Vec<Channel> = (0u32..)
        .zip(instruments)
        .flat_map(|(index, instrument)| channels_of(feed, index, instrument))
        .collect();
    let connections_needed = channels.len().div_ceil(CHANNELS_PER_CONNECTION);
    if connections_needed > CONNECTIONS_MAX {
        let most = CONNECTIONS_MAX * CHANNELS_PER_CONNECTION;
        return Err(refusal(
            "symbols",
            format!("{} channels", channels.len()),
            format!(
                "at most {most}: {CONNECTIONS_MAX} connections of {CHANNELS_PER_CONNECTION}; name fewer symbols or market types"
            ),
        ));
    }
    let mut planned = Planned {
        plan: Plan { connections: Vec::new(), polls: Vec::new(), resyncs: Vec::new(), budgets: budgets() },
        asked: BTreeMap::new(),
    };
    for (index, part) in (0u32..).zip(channels.chunks(CHANNELS_PER_CONNECTION)) {
        connect(&mut planned, index, part, endpoints.url("ws"));
    }
    if feed.data_types.contains(&DataType::Liquidation) {
        let offered = markets(DataType::Liquidation);
        let looked_at = (0u32..).zip(instruments).filter(|(_, one)| offered.contains(&one.market_type));
        planned.plan.polls = looked_at.map(|(index, one)| poll(index, one, endpoints.url("rest"))).collect();
    }
    if planned.plan.connections.is_empty() && planned.plan.polls.is_empty() {
        return Err(refusal(
            "data_types",
            "nothing to collect",
            "a data type that one of the instruments has",
        ));
    }
    Ok(planned)
}

/// The requests for the lists of instruments that the feed needs.
pub(crate) fn instrument_requests(feed: &Feed, endpoints: &Endpoints) -> Vec<Request> {
    if !needs_lists(feed) {
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
    kinds.into_iter().map(|kind| get(url(kind), "instruments", 1, 60_000)).collect()
}

/// The channels of an instrument. Tickers carry funding and open interest.
fn channels_of(feed: &Feed, index: u32, instrument: &Instrument) -> Vec<Channel> {
    let volatility = coin_of_index(instrument.venue_symbol.as_bytes()).is_some();
    let carried = [
        DataType::Orderbook,
        DataType::Trade,
        DataType::FundingRate,
        DataType::OpenInterest,
        DataType::VolatilityIndex,
    ];
    let mut channels: Vec<Channel> = Vec::new();
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
            None => channels.push(Channel {
                name,
                instrument: index,
                market: instrument.market_type,
                data_types: vec![data_type],
            }),
        }
    }
    channels
}

fn connect(planned: &mut Planned, index: u32, channels: &[Channel], ws: &str) {
    let mut on_open = vec![rpc::set_heartbeat()];
    for (position, part) in (0u32..).zip(channels.chunks(CHANNELS_PER_REQUEST)) {
        let names: Vec<String> = part.iter().map(|channel| channel.name.clone()).collect();
        let id = rpc::opening_id(position);
        on_open.push(rpc::subscribe(id, &names));
        planned.asked.insert((index, id), names);
    }
    let subscriptions = u32::try_from(on_open.len()).unwrap_or(u32::MAX).saturating_sub(1);
    let mut streams = Vec::new();
    for (position, channel) in (0u32..).zip(channels) {
        let [leave, ask] = rpc::again_ids(position);
        let alone = std::slice::from_ref(&channel.name);
        let resubscribe = vec![rpc::unsubscribe(leave, alone), rpc::subscribe(ask, alone)];
        planned.asked.insert((index, ask), alone.to_vec());
        if channel.data_types.contains(&DataType::Orderbook) {
            let again = Resubscription { connection: index, messages: resubscribe.clone() };
            planned.plan.resyncs.push(Resync {
                instrument: channel.instrument,
                action: ResyncAction::Resubscribe(again),
                depth_limit: None,
            });
        }
        streams.extend(channel.data_types.iter().map(|data_type| DataStream {
            data_type: *data_type,
            instrument: Some(channel.instrument),
            expected_silence_ms: expected_silence_ms(*data_type, channel.market),
            resubscribe: resubscribe.clone(),
        }));
    }
    planned.plan.connections.push(Connection {
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
        charges: vec![charge("connects", 1), charge("subscriptions", SUBSCRIBE_CREDITS * subscriptions)],
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

fn poll(index: u32, instrument: &Instrument, rest: &str) -> Poll {
    let path = "/api/v2/public/get_last_trades_by_instrument_and_time";
    let url = format!("{rest}{path}?instrument_name={}&count=1000&sorting=asc", instrument.venue_symbol);
    Poll {
        request: get(url, "requests", REQUEST_CREDITS, 10_000),
        data_type: DataType::Liquidation,
        instrument: Some(index),
        period_ms: LIQUIDATION_PERIOD_MS,
        window: Some(TimeWindow {
            from_parameter: FROM_PARAMETER.to_owned(),
            to_parameter: TO_PARAMETER.to_owned(),
            from_ago_ms: WINDOW_FROM_AGO_MS,
            to_ago_ms: WINDOW_TO_AGO_MS,
        }),
        reference: false,
    }
}

fn get(url: String, budget: &str, units: u32, timeout_ms: u32) -> Request {
    let charges = vec![charge(budget, units)];
    Request { method: Method::Get, url, headers: Vec::new(), body: None, charges, timeout_ms }
}

fn charge(budget: &str, units: u32) -> Charge {
    Charge { budget: budget_name(budget), units }
}

fn budget_name(name: &str) -> String {
    format!("{EXCHANGE}.{name}")
}

/// Pools that refill become windows in which no more than the pool holds is used, and no more than flows back.
fn budgets() -> Vec<Budget> {
    let budget =
        |name: &str, units: u32, window_ms: u32| Budget { name: budget_name(name), units, window_ms };
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
