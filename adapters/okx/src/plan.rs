//! Connections, polls, resyncs and budgets of a feed. Limits are the venue's; `VENUE.md` names the source of each.

use crate::channels;
use crate::describe::{Exchange, markets};
use marketprism_adapter_sdk::{
    Budget, Connection, DataStream, DataType, Endpoints, Heartbeat, Instrument, LoadedFeed, Plan, Poll,
    Refusal, Request, Resync, TextHeartbeat, TimeUnit, VenueClock, budget, charge, data_type_name, get,
    json_string, numbered, percent_encoded, poll, refusal, resubscribe, venue_clock,
};
use std::collections::BTreeSet;

/// The venue advises fewer than 30 deep books on one connection.
const BOOKS_PER_CONNECTION: usize = 25;
/// Of the other channels, which are light.
const CHANNELS_PER_CONNECTION: usize = 240;
/// Keeps a subscribe message near 8 kB; the venue takes 64.
const CHANNELS_PER_MESSAGE: usize = 100;

/// The span that a long/short ratio covers, as the venue writes it.
pub(crate) const RATIO_PERIOD: &str = "5m";
/// Twice in each span, so that none is missed; the edge drops a row that it has by its time.
const RATIO_EVERY_MS: u32 = 120_000;

/// Both exchange ids draw on the same budgets: the venue counts by address.
const CONNECTS: &str = "okx.connects";
/// The venue counts each type of list apart; they are few enough for one budget.
const LISTS: &str = "okx.lists";
const TICKERS: &str = "okx.tickers";
const TIME: &str = "okx.time";
/// This adapter's own bound over all instruments, in addition to the venue's for each of them.
const RATIOS: &str = "okx.ratios";
const RATIOS_OF_ONE: u32 = 5;
const WINDOW_MS: u32 = 2000;

struct Stream {
    data_type: DataType,
    instrument: Option<u32>,
    /// The channel in the venue's words.
    arg: String,
}

pub(crate) fn plan(exchange: Exchange, loaded: &LoadedFeed) -> Result<Plan, Refusal> {
    let LoadedFeed { feed, endpoints, instruments, .. } = loaded;
    let numbered = numbered(instruments);
    let wanted = |data_type: &DataType| loaded.has(*data_type);
    let of = |data_types: &[DataType]| -> Vec<Stream> {
        let chosen = data_types.iter().filter(|data_type| wanted(data_type));
        chosen.flat_map(|data_type| streams(exchange, *data_type, &numbered)).collect()
    };
    let books = of(&[DataType::Orderbook]);
    let others = of(&[DataType::Trade, DataType::FundingRate, DataType::OpenInterest, DataType::Liquidation]);
    let polls: Vec<Poll> = [DataType::LsrTopPosition, DataType::LsrAllAccount]
        .into_iter()
        .filter(wanted)
        .flat_map(|data_type| ratio_polls(data_type, &numbered, endpoints.url("rest")))
        .collect();
    if books.is_empty() && others.is_empty() && polls.is_empty() {
        let names: Vec<&str> = feed.data_types.iter().map(|data_type| data_type_name(*data_type)).collect();
        return Err(refusal("data_types", names.join(", "), "a data type that these instruments have"));
    }
    let ws = endpoints.url("ws");
    let mut connections = Vec::new();
    for (name, streams, most) in
        [("books", &books, BOOKS_PER_CONNECTION), ("events", &others, CHANNELS_PER_CONNECTION)]
    {
        let parts = (1u32..).zip(streams.chunks(most));
        connections.extend(parts.map(|(number, part)| connection(format!("{name}-{number}"), part, ws)));
    }
    let budgets = budgets(&polls);
    Ok(Plan { connections, polls, resyncs: resyncs(&books), budgets, clock: clock(endpoints.url("rest")) })
}

fn clock(rest: &str) -> Option<VenueClock> {
    let request = get(format!("{rest}/api/v5/public/time"), vec![charge(TIME, 1)], 10_000);
    venue_clock(request, "/data/0/ts", TimeUnit::Milliseconds)
}

/// The channels of a data type; none for an instrument whose market does not have it.
fn streams(exchange: Exchange, data_type: DataType, instruments: &[(u32, &Instrument)]) -> Vec<Stream> {
    let Some(channel) = channels::name(data_type) else { return Vec::new() };
    let has = |instrument: &Instrument| {
        exchange == Exchange::Spot || markets(data_type).contains(&instrument.market_type)
    };
    let served = instruments.iter().filter(|(_, instrument)| has(instrument));
    if data_type == DataType::Liquidation {
        // One channel for all instruments of a type.
        let kinds: Vec<&str> = served.map(|(_, instrument)| kind(instrument)).collect();
        return ["SWAP", "FUTURES"]
            .into_iter()
            .filter(|kind| kinds.contains(kind))
            .map(|kind| Stream {
                data_type,
                instrument: None,
                arg: format!(r#"{{"channel":"{channel}","instType":"{kind}"}}"#),
            })
            .collect();
    }
    served
        .map(|(index, instrument)| {
            let name = json_string(&instrument.venue_symbol);
            let arg = format!(r#"{{"channel":"{channel}","instId":{name}}}"#);
            Stream { data_type, instrument: Some(*index), arg }
        })
        .collect()
}

/// The venue's type of a contract. X-Perps are of the type FUTURES.
fn kind(instrument: &Instrument) -> &'static str {
    if instrument.venue_symbol.ends_with("-SWAP") { "SWAP" } else { "FUTURES" }
}

pub(crate) fn list_request(endpoints: &Endpoints, list: &str) -> Request {
    get(format!("{}/api/v5/public/{list}", endpoints.url("rest")), vec![charge(LISTS, 1)], 60_000)
}

pub(crate) fn tickers_request(endpoints: &Endpoints, kind: &str) -> Request {
    let url = format!("{}/api/v5/market/tickers?instType={kind}", endpoints.url("rest"));
    get(url, vec![charge(TICKERS, 1)], 60_000)
}

fn ratio_polls(data_type: DataType, instruments: &[(u32, &Instrument)], rest: &str) -> Vec<Poll> {
    let path = match data_type {
        DataType::LsrTopPosition => "long-short-position-ratio-contract-top-trader",
        _ => "long-short-account-ratio-contract",
    };
    let served = instruments.iter().filter(|(_, one)| markets(data_type).contains(&one.market_type));
    let ratio_poll = |(index, instrument): &(u32, &Instrument)| {
        let name = percent_encoded(&instrument.venue_symbol);
        let url =
            format!("{rest}/api/v5/rubik/stat/contracts/{path}?instId={name}&period={RATIO_PERIOD}&limit=1");
        let of_one = format!("{RATIOS}.{}", instrument.venue_symbol);
        poll(data_type, *index, get(url, vec![charge(RATIOS, 1), charge(of_one, 1)], 10_000), RATIO_EVERY_MS)
    };
    served.map(ratio_poll).collect()
}

fn budgets(polls: &[Poll]) -> Vec<Budget> {
    let charged: BTreeSet<&str> =
        polls.iter().flat_map(|poll| &poll.request.charges).map(|charge| charge.budget.as_str()).collect();
    let single = charged.into_iter().filter(|name| *name != RATIOS);
    let shared = [
        budget(CONNECTS, 3, 1000),
        budget(LISTS, 20, WINDOW_MS),
        budget(TICKERS, 20, WINDOW_MS),
        budget(TIME, 10, WINDOW_MS),
        budget(RATIOS, 20, WINDOW_MS),
    ];
    shared.into_iter().chain(single.map(|name| budget(name, RATIOS_OF_ONE, WINDOW_MS))).collect()
}

/// A new subscription of a book begins with its snapshot.
fn resyncs(books: &[Stream]) -> Vec<Resync> {
    let connections = (0u32..).zip(books.chunks(BOOKS_PER_CONNECTION));
    connections
        .flat_map(|(connection, part)| part.iter().map(move |stream| (connection, stream)))
        .filter_map(|(connection, stream)| {
            Some(resubscribe(stream.instrument?, connection, resubscription(stream), None))
        })
        .collect()
}

fn connection(name: String, streams: &[Stream], ws: &str) -> Connection {
    Connection {
        name,
        url: format!("{ws}/ws/v5/public"),
        headers: Vec::new(),
        on_open: streams.chunks(CHANNELS_PER_MESSAGE).map(|part| message("subscribe", part)).collect(),
        // The venue closes after 30 seconds without traffic.
        heartbeat: Heartbeat::Text(TextHeartbeat { send: "ping".to_owned(), every_ms: 20_000 }),
        // Two pings without an answer.
        idle_timeout_ms: 45_000,
        // No lifetime is documented.
        max_age_ms: 0,
        // The venue counts subscriptions only; pings, 180 an hour, are counted here too.
        messages_max: 480,
        messages_window_ms: 3_600_000,
        charges: vec![charge(CONNECTS, 1)],
        streams: streams.iter().map(data_stream).collect(),
    }
}

fn data_stream(stream: &Stream) -> DataStream {
    DataStream {
        data_type: stream.data_type,
        instrument: stream.instrument,
        expected_silence_ms: expected_silence_ms(stream.data_type),
        resubscribe: resubscription(stream),
    }
}

/// An unchanged book is repeated without levels about every 60 seconds, a funding rate is pushed every 30 to 90.
/// Trades, liquidations and a change of open interest may be hours apart.
fn expected_silence_ms(data_type: DataType) -> u32 {
    match data_type {
        DataType::Orderbook => 90_000,
        DataType::FundingRate => 240_000,
        _ => 0,
    }
}

fn resubscription(stream: &Stream) -> Vec<String> {
    let alone = std::slice::from_ref(stream);
    vec![message("unsubscribe", alone), message("subscribe", alone)]
}

fn message(operation: &str, streams: &[Stream]) -> String {
    let args: Vec<&str> = streams.iter().map(|stream| stream.arg.as_str()).collect();
    format!(r#"{{"op":"{operation}","args":[{}]}}"#, args.join(","))
}
