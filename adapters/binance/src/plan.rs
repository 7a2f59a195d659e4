//! Connections, polls, resyncs and budgets of a feed. Limits are the venue's; `VENUE.md` names the source of each.

use crate::describe::{Exchange, capabilities};
use crate::streams::{self, StreamRoute};
use marketprism_adapter_sdk::{
    Answer, Budget, Charge, Connection, DataStream, DataType, Delivery, Endpoints, Heartbeat, Instrument,
    LoadedFeed, MarketType, Plan, Poll, Refusal, Request, Resync, ResyncAction, TimeUnit, TradeRange,
    VenueClock, budget, charge, data_type_name, get, json_string, market_type_name, numbered,
    percent_encoded, poll, refusal, venue_clock,
};
use std::ops::RangeInclusive;

/// The venue allows 1024 on one connection and recommends fewer.
const STREAMS_PER_CONNECTION: usize = 200;
/// Keeps a subscribe message near 2 kB.
const STREAMS_PER_MESSAGE: usize = 100;
/// Rows of an answer of past trades, at most.
const TRADES_PER_PAGE: u64 = 1000;
/// The venue closes connections after 24 hours.
const MAX_AGE_MS: u32 = 23 * 3_600_000;

/// The period of the long/short ratios, as the venue writes it.
pub(crate) const RATIO_PERIOD: &str = "5m";
const RATIO_PERIOD_MS: u64 = 300_000;

const RATIO_BUDGET: &str = "binance_derivatives.futures-data";
const RATIOS_MAX: u32 = 1000;
const RATIOS_WINDOW_MS: u32 = 300_000;

/// `fundingInfo` shares a budget with the history of funding.
const FUNDING_BUDGET: &str = "binance_derivatives.funding";
/// The venue shortens intervals of moving markets from one hour to the next.
const FUNDING_INFO_PERIOD_MS: u32 = 300_000;

/// Open interest is polled every 15 to 60 seconds, and for more instruments less often: it takes at most a
/// quarter of the weight of 2400 a minute, the rest is for snapshots.
const INTEREST_PERIOD_MS: RangeInclusive<u64> = 15_000..=3_600_000;
const INTEREST_WEIGHT_A_MINUTE: u64 = 600;

/// Ratios are polled more often than they change, so that a row which comes late is not missed for long,
/// with four fifths of their budget.
const RATIO_EVERY_MS: RangeInclusive<u64> = 60_000..=3_600_000;
const RATIOS_A_WINDOW: u64 = 800;

struct Stream {
    name: String,
    data_type: DataType,
    instrument: u32,
    market_type: MarketType,
}

type Wanted<'a> = (DataType, Vec<(u32, &'a Instrument)>);

pub(crate) fn plan(exchange: Exchange, loaded: &LoadedFeed) -> Result<Plan, Refusal> {
    let LoadedFeed { feed, endpoints, instruments, .. } = loaded;
    let numbered = numbered(instruments);
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
        polls: polls(exchange, &polled, endpoints.url("rest")),
        resyncs: resyncs.collect(),
        budgets: budgets(exchange),
        clock: clock(exchange, endpoints.url("rest")),
    })
}

fn connections(exchange: Exchange, pushed: &[Wanted<'_>], ws: &str) -> Result<Vec<Connection>, Refusal> {
    let mut routes: Vec<(StreamRoute, Vec<Stream>)> = Vec::new();
    for (data_type, instruments) in pushed {
        let served = streams::kind(exchange, *data_type)
            .and_then(|kind| Some((kind, streams::route(exchange, kind)?)));
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

pub(crate) fn instrument_requests(
    exchange: Exchange,
    endpoints: &Endpoints,
    answers: &[Answer],
) -> Vec<Request> {
    if !answers.is_empty() {
        return Vec::new();
    }
    let (path, weight) = match exchange {
        // Without the permission sets the answer is a fraction of its size.
        Exchange::Spot => ("/api/v3/exchangeInfo?showPermissionSets=false", 20),
        Exchange::UsdM => ("/fapi/v1/exchangeInfo", 1),
    };
    let url = format!("{}{path}", endpoints.url("rest"));
    vec![get(url, vec![weight_charge(exchange, weight)], 60_000)]
}

fn clock(exchange: Exchange, rest: &str) -> Option<VenueClock> {
    let path = match exchange {
        Exchange::Spot => "/api/v3/time",
        Exchange::UsdM => "/fapi/v1/time",
    };
    let request = get(format!("{rest}{path}"), vec![weight_charge(exchange, 1)], 10_000);
    venue_clock(request, "/serverTime", TimeUnit::Milliseconds)
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
    get(format!("{rest}{path}?symbol={symbol}&limit={limit}"), vec![weight_charge(exchange, weight)], 10_000)
}

/// The ids are those of the stream: of matches on spot, of aggregates on USD-M.
pub(crate) fn backfill(
    exchange: Exchange,
    rest: &str,
    instrument: &Instrument,
    TradeRange { first, last, .. }: TradeRange,
) -> Request {
    let (path, weight) = match exchange {
        Exchange::Spot => ("/api/v3/historicalTrades", 25),
        Exchange::UsdM => ("/fapi/v1/aggTrades", 20),
    };
    let symbol = percent_encoded(&instrument.venue_symbol);
    let limit = last.saturating_sub(first).saturating_add(1).min(TRADES_PER_PAGE);
    let url = format!("{rest}{path}?symbol={symbol}&fromId={first}&limit={limit}");
    get(url, vec![weight_charge(exchange, weight)], 10_000)
}

pub(crate) fn weight_charge(exchange: Exchange, weight: u32) -> Charge {
    charge(weight_budget(exchange), weight)
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
        budget(weight_budget(exchange), weight, 60_000),
        budget(connects_budget(exchange), 300, 300_000),
    ];
    if exchange == Exchange::UsdM {
        budgets.extend(poll_budgets());
    }
    budgets
}

fn connection(
    exchange: Exchange,
    route: StreamRoute,
    number: u32,
    streams: &[Stream],
    ws: &str,
) -> Connection {
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
        charges: vec![charge(connects_budget(exchange), 1)],
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
    let names: Vec<String> = streams.iter().map(|stream| json_string(&stream.name)).collect();
    format!(r#"{{"method":"{method}","params":[{}],"id":{id}}}"#, names.join(","))
}

fn polls(exchange: Exchange, wanted: &[(DataType, Vec<(u32, &Instrument)>)], rest: &str) -> Vec<Poll> {
    let ratios: usize = wanted
        .iter()
        .filter(|(data_type, _)| ratio_path(*data_type).is_some())
        .map(|(_, instruments)| instruments.len())
        .sum();
    let ratio_period = period(ratios, u64::from(RATIOS_WINDOW_MS), RATIOS_A_WINDOW, RATIO_EVERY_MS);
    let mut polls = Vec::new();
    for (data_type, instruments) in wanted {
        match data_type {
            DataType::FundingRate => polls.push(funding_info(rest)),
            DataType::OpenInterest => {
                let period_ms =
                    period(instruments.len(), 60_000, INTEREST_WEIGHT_A_MINUTE, INTEREST_PERIOD_MS);
                polls.extend(instruments.iter().map(|(index, instrument)| {
                    let symbol = percent_encoded(&instrument.venue_symbol);
                    let url = format!("{rest}/fapi/v1/openInterest?symbol={symbol}");
                    poll(*data_type, *index, get(url, vec![weight_charge(exchange, 1)], 10_000), period_ms)
                }));
            }
            _ => {
                let Some(path) = ratio_path(*data_type) else { continue };
                // Rows that came since the last time are not missed, however seldom that is.
                let limit = u64::from(ratio_period).div_ceil(RATIO_PERIOD_MS);
                polls.extend(instruments.iter().map(|(index, instrument)| {
                    let symbol = percent_encoded(&instrument.venue_symbol);
                    let url = format!("{rest}{path}?symbol={symbol}&period={RATIO_PERIOD}&limit={limit}");
                    poll(*data_type, *index, get(url, vec![charge(RATIO_BUDGET, 1)], 10_000), ratio_period)
                }));
            }
        }
    }
    polls
}

fn poll_budgets() -> [Budget; 2] {
    [budget(RATIO_BUDGET, RATIOS_MAX, RATIOS_WINDOW_MS), budget(FUNDING_BUDGET, 500, 300_000)]
}

fn ratio_path(data_type: DataType) -> Option<&'static str> {
    match data_type {
        // The ratio of positions; `topLongShortAccountRatio` is another one, of accounts.
        DataType::LsrTopPosition => Some("/futures/data/topLongShortPositionRatio"),
        DataType::LsrAllAccount => Some("/futures/data/globalLongShortAccountRatio"),
        _ => None,
    }
}

fn funding_info(rest: &str) -> Poll {
    Poll {
        request: get(format!("{rest}/fapi/v1/fundingInfo"), vec![charge(FUNDING_BUDGET, 1)], 10_000),
        data_type: DataType::FundingRate,
        instrument: None,
        period_ms: FUNDING_INFO_PERIOD_MS,
        window: None,
        reference: true,
    }
}

/// Shortest period of so many requests, with `units` of them in any `window_ms`.
fn period(requests: usize, window_ms: u64, units: u64, range: RangeInclusive<u64>) -> u32 {
    let requests = u64::try_from(requests).unwrap_or(u64::MAX);
    let period_ms = requests.saturating_mul(window_ms).div_ceil(units).clamp(*range.start(), *range.end());
    u32::try_from(period_ms).unwrap_or(u32::MAX)
}
