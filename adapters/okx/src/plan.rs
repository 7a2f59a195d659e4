//! What the edge has to open, send and ask for. Limits are the venue's; `VENUE.md` says where each is from.

use crate::channel;
use crate::exchange::{Exchange, markets};
use crate::requests;
use marketprism_adapter_sdk::{
    Connection, DataStream, DataType, Endpoints, Feed, Heartbeat, Instrument, Plan, Poll, Refusal,
    Resubscription, Resync, ResyncAction, TextHeartbeat, data_type_name, refusal,
};

/// The venue advises fewer than 30 deep books on one connection.
const BOOKS_PER_CONNECTION: usize = 25;
/// Of the other channels, which are light.
const CHANNELS_PER_CONNECTION: usize = 240;
/// Keeps a subscribe message near 8 kB; the venue takes 64.
const CHANNELS_PER_MESSAGE: usize = 100;

/// One channel to subscribe to.
struct Stream {
    data_type: DataType,
    instrument: Option<u32>,
    /// The channel in the venue's words.
    arg: String,
}

pub(crate) fn plan(
    exchange: Exchange,
    feed: &Feed,
    endpoints: &Endpoints,
    instruments: &[Instrument],
) -> Result<Plan, Refusal> {
    let numbered: Vec<(u32, &Instrument)> = (0u32..).zip(instruments).collect();
    let wanted = |data_type: &DataType| feed.data_types.contains(data_type);
    let of = |data_types: &[DataType]| -> Vec<Stream> {
        let chosen = data_types.iter().filter(|data_type| wanted(data_type));
        chosen.flat_map(|data_type| streams(exchange, *data_type, &numbered)).collect()
    };
    let books = of(&[DataType::Orderbook]);
    let others = of(&[DataType::Trade, DataType::FundingRate, DataType::OpenInterest, DataType::Liquidation]);
    let polls: Vec<Poll> = [DataType::LsrTopPosition, DataType::LsrAllAccount]
        .into_iter()
        .filter(wanted)
        .flat_map(|data_type| polls(data_type, &numbered, endpoints.url("rest")))
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
    let budgets = requests::budgets(&polls);
    Ok(Plan { connections, polls, resyncs: resyncs(&books), budgets })
}

/// The channels of a data type; none for an instrument whose market does not have it.
fn streams(exchange: Exchange, data_type: DataType, instruments: &[(u32, &Instrument)]) -> Vec<Stream> {
    let Some(channel) = channel::name(data_type) else { return Vec::new() };
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
            let name = json_text(&instrument.venue_symbol);
            let arg = format!(r#"{{"channel":"{channel}","instId":{name}}}"#);
            Stream { data_type, instrument: Some(*index), arg }
        })
        .collect()
}

/// The venue's type of a contract. X-Perps are of the type FUTURES.
fn kind(instrument: &Instrument) -> &'static str {
    if instrument.venue_symbol.ends_with("-SWAP") { "SWAP" } else { "FUTURES" }
}

fn polls<'a>(
    data_type: DataType,
    instruments: &'a [(u32, &Instrument)],
    rest: &'a str,
) -> impl Iterator<Item = Poll> + 'a {
    let served = instruments.iter().filter(move |(_, one)| markets(data_type).contains(&one.market_type));
    served.filter_map(move |(index, instrument)| requests::poll(data_type, *index, instrument, rest))
}

/// A book starts anew with the snapshot that follows a subscription.
fn resyncs(books: &[Stream]) -> Vec<Resync> {
    let connections = (0u32..).zip(books.chunks(BOOKS_PER_CONNECTION));
    connections
        .flat_map(|(connection, part)| part.iter().map(move |stream| (connection, stream)))
        .filter_map(|(connection, stream)| {
            let action = Resubscription { connection, messages: again(stream) };
            Some(Resync {
                instrument: stream.instrument?,
                action: ResyncAction::Resubscribe(action),
                depth_limit: None,
            })
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
        charges: vec![requests::connect_charge()],
        streams: streams.iter().map(data_stream).collect(),
    }
}

fn data_stream(stream: &Stream) -> DataStream {
    DataStream {
        data_type: stream.data_type,
        instrument: stream.instrument,
        expected_silence_ms: expected_silence_ms(stream.data_type),
        resubscribe: again(stream),
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

fn again(stream: &Stream) -> Vec<String> {
    let alone = std::slice::from_ref(stream);
    vec![message("unsubscribe", alone), message("subscribe", alone)]
}

fn message(operation: &str, streams: &[Stream]) -> String {
    let args: Vec<&str> = streams.iter().map(|stream| stream.arg.as_str()).collect();
    format!(r#"{{"op":"{operation}","args":[{}]}}"#, args.join(","))
}

fn json_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
