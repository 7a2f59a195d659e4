//! What the adapter refuses, and what its plan asks of the edge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_sdk::testkit::{self, OwnedFrame, Session};
use marketprism_adapter_sdk::{
    Adapter, Answer, Completeness, DataType, Delivery, Endpoint, Feed, Ignored, Instrument, MarketType,
    Payload, Plan, Refusal, Remark, ResyncAction, SequenceRule, SnapshotSource, log,
};
use std::collections::BTreeSet;
use std::path::Path;

const EXCHANGE: &str = "deribit_derivatives";

fn records() -> Vec<testkit::Record> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("frames");
    testkit::read(&folder.join(format!("{EXCHANGE}.instruments.jsonl"))).unwrap()
}

fn feed(symbols: &[&str], data_types: &[DataType]) -> Feed {
    let whole = testkit::whole_feed::<Deribit>(EXCHANGE).unwrap();
    Feed {
        symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
        market_types: Vec::new(),
        data_types: if data_types.is_empty() { whole.data_types } else { data_types.to_vec() },
        ..whole
    }
}

fn answers() -> Vec<Answer> {
    (0u32..).zip(records()).map(|(request, body)| Answer { request, body: body.data.into_bytes() }).collect()
}

fn instruments(feed: &Feed) -> Result<Vec<String>, Refusal> {
    let found = Deribit::instruments(feed, answers())?;
    Ok(found.into_iter().map(|instrument| instrument.symbol).collect())
}

fn open(feed: &Feed) -> Session<Deribit> {
    Session::open(feed, &records()).unwrap()
}

fn frame(text: &str, source: u32) -> OwnedFrame {
    OwnedFrame { bytes: text.as_bytes().to_vec(), source, at: 1_765_531_356_452_000_000 }
}

fn remarks(session: &mut Session<Deribit>, frames: &[OwnedFrame]) -> Vec<Remark> {
    session.normalize(frames, 64).notes.into_iter().map(|note| note.remark).collect()
}

// Goal: a feed that cannot be served is refused before anything is opened, by field, value and what is allowed. Method: each field.
#[test]
fn feeds_that_cannot_be_served_are_refused() {
    let refused = |change: &dyn Fn(&mut Feed)| {
        let mut feed = feed(&["BTC-USD"], &[]);
        change(&mut feed);
        let refusal = Deribit::instrument_requests(&feed, &[]).unwrap_err();
        assert!(!refusal.allowed.is_empty());
        (refusal.field, refusal.value)
    };
    let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
    assert_eq!(refused(&|feed| feed.exchange = "deribit".to_owned()), pair("exchange", "deribit"));
    assert_eq!(refused(&|feed| feed.data_types.clear()), pair("data_types", "[]"));
    assert_eq!(
        refused(&|feed| feed.data_types.push(DataType::LsrAllAccount)),
        pair("data_types", "lsr_all_account")
    );
    assert_eq!(refused(&|feed| feed.market_types.push(MarketType::Spot)), pair("market_types", "spot"));
    assert_eq!(refused(&|feed| feed.depth = 10_001), pair("depth", "10001"));
    let endpoint = |name: &str, url: &str| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    assert_eq!(refused(&|feed| feed.endpoints.push(endpoint("wss", "wss://x"))), pair("endpoints", "wss"));
    assert_eq!(refused(&|feed| feed.endpoints.push(endpoint("ws", "x:1"))), pair("endpoints.ws", "x:1"));
}

// Goal: the matrix claims what the venue gives, no more. Method: the cells that a report depends on.
#[test]
fn the_capability_matrix_is_honest() {
    let venue = Deribit::describe().venues.remove(0);
    let of = |data_type| venue.capabilities.iter().find(|one| one.data_type == data_type).unwrap();
    let book = of(DataType::Orderbook);
    assert_eq!((book.sequence, book.snapshot), (SequenceRule::Chained, SnapshotSource::InBand));
    assert!(of(DataType::Trade).contiguous_trade_ids);
    let forced = of(DataType::Liquidation);
    assert_eq!((forced.delivery, forced.completeness), (Delivery::Poll, Completeness::LowerBound));
    assert_eq!(forced.market_types, [MarketType::Perpetual, MarketType::Futures]);
    assert_eq!(of(DataType::FundingRate).market_types, [MarketType::Perpetual]);
    assert_eq!(of(DataType::VolatilityIndex).market_types, [MarketType::Options]);
    assert_eq!(venue.capabilities.len(), 6, "no long/short ratios");
}

// Goal: symbols are exactly those of the venue's lists, options only when asked for, indices by their coin; a wrong symbol is named with
// what was meant. Method: real and wrong symbols.
#[test]
fn symbols_come_from_the_lists_or_are_refused() {
    let trades = |symbols: &[&str]| instruments(&feed(symbols, &[DataType::Trade]));
    assert_eq!(trades(&["BTC-USD", "BTC-USDC-261225"]).unwrap(), ["BTC-USD", "BTC-USDC-261225"]);
    assert_eq!(
        trades(&[]).unwrap(),
        ["ADA-USD", "BTC-USD", "BTC-USD-261205", "BTC-USD-261225", "BTC-USDC", "BTC-USDC-261225"]
            .into_iter()
            .chain(["DOGE-USDC", "ETH-USD"])
            .collect::<Vec<_>>()
    );
    let refusal = trades(&["BTC-USD", "BTC-USD-261225-100000-C", "ODD-USD"]).unwrap_err();
    assert_eq!(refusal.value, "BTC-USD-261225-100000-C, ODD-USD", "options were not asked for");
    let mut options = feed(&["BTC-USD-270105-90000-P", "MATIC-USDC-240309-1d02-C"], &[DataType::Trade]);
    options.market_types = vec![MarketType::Options];
    assert_eq!(instruments(&options).unwrap(), options.symbols);
    log::captured();
    assert_eq!(trades(&["OLD-USDC"]).unwrap(), ["OLD-USDC"]);
    let warned = |(_, line): &(log::Level, String)| line.contains("not trading");
    assert!(log::captured().iter().any(warned), "a symbol that was asked for but rests is told");
    let twice: Vec<Answer> = answers().into_iter().chain(answers()).collect();
    let whole = Deribit::instruments(&feed(&[], &[DataType::Trade]), twice).unwrap();
    assert_eq!(whole.len(), 8, "lists that overlap");
    assert!(log::captured().iter().all(|(level, _)| *level != log::Level::Warn), "and nothing was left out");
    // Indices: by their own name, by an instrument of the coin, or all.
    let all = |symbols: &[&str]| instruments(&feed(symbols, &[])).unwrap();
    assert_eq!(all(&["BTC-USDC"]), ["BTC-USDC", "BTC"]);
    assert_eq!(all(&["DOGE-USDC", "ETH"]), ["DOGE-USDC", "ETH"]);
    assert!(all(&[]).ends_with(&["BTC".to_owned(), "ETH".to_owned()]));
    let volatility = |symbols: &[&str]| instruments(&feed(symbols, &[DataType::VolatilityIndex]));
    assert_eq!(volatility(&["ETH"]).unwrap(), ["ETH"]);
    assert_eq!(volatility(&["SOL"]).unwrap_err().value, "SOL");
    assert_eq!(trades(&["BTC"]).unwrap_err().value, "BTC", "an index has no trades");
    for body in
        ["", "{}", "<html>", "{\"result\":{}}", "{\"result\":[{\"kind\":\"future\"}]}", "{\"result\":[1]}"]
    {
        let answers = vec![Answer { request: 0, body: body.as_bytes().to_vec() }];
        let refusal = Deribit::instruments(&feed(&[], &[]), answers).unwrap_err();
        assert_eq!(refusal.field, "get_instruments", "{body}");
    }
    let busy = r#"{"jsonrpc":"2.0","error":{"message":"too_many_requests","code":10028}}"#;
    let answers = vec![Answer { request: 0, body: busy.as_bytes().to_vec() }];
    assert_eq!(Deribit::instruments(&feed(&[], &[]), answers).unwrap_err().value, "too_many_requests");
}

// Goal: only the lists that a feed needs are asked for, and once. Method: feeds of each market.
#[test]
fn only_needed_lists_are_asked_for() {
    let asked = |feed: &Feed, answers: &[Answer]| -> Vec<String> {
        let requests = Deribit::instrument_requests(feed, answers).unwrap();
        requests.into_iter().map(|request| request.url.split_once('?').unwrap().1.to_owned()).collect()
    };
    let (futures, options) = ("currency=any&kind=future", "currency=any&kind=option");
    assert_eq!(asked(&feed(&[], &[]), &[]), [futures]);
    let mut some = feed(&[], &[DataType::Trade]);
    assert_eq!(asked(&some, &[]), [futures]);
    assert!(asked(&some, &answers()[..1]).is_empty());
    some.market_types = vec![MarketType::Options];
    assert_eq!(asked(&some, &[]), [options]);
    some.market_types = vec![MarketType::Perpetual, MarketType::Options];
    assert_eq!(asked(&some, &[]), [futures, options]);
    assert!(asked(&feed(&[], &[DataType::VolatilityIndex]), &[]).is_empty());
    assert!(asked(&feed(&["BTC"], &[]), &[]).is_empty(), "an index alone");
}

fn many(count: usize) -> Vec<Instrument> {
    let one = Deribit::instruments(&feed(&["BTC-USD"], &[DataType::Trade]), answers()).unwrap().remove(0);
    let each = |number: usize| {
        let (symbol, venue_symbol) = (format!("A{number}-USD"), format!("A{number}-PERPETUAL"));
        Instrument { symbol, venue_symbol, ..one.clone() }
    };
    (0..count).map(each).collect()
}

// Goal: the plan keeps the venue's limits. Method: a feed of 450 instruments, and one beyond what is allowed.
#[test]
fn plans_keep_the_venues_limits() {
    let plan = Deribit::load(feed(&[], &[]), many(450)).unwrap().plan().unwrap();
    let channels: Vec<usize> = plan
        .connections
        .iter()
        .map(|connection| {
            connection.streams.iter().map(|stream| &stream.resubscribe[1]).collect::<BTreeSet<_>>().len()
        })
        .collect();
    assert_eq!(channels, [200, 200, 200, 200, 200, 200, 150], "book, trades and ticker of each");
    let budget = |name: &str| plan.budgets.iter().find(|budget| budget.name.ends_with(name)).unwrap();
    for connection in &plan.connections {
        assert_eq!(connection.url, "wss://www.deribit.com/ws/api/v2");
        assert!(connection.on_open[0].contains("public/set_heartbeat"));
        assert!(connection.on_open.iter().all(|message| message.matches("100ms").count() <= 100));
        assert_eq!(connection.on_open.len(), 3);
        let credits =
            connection.charges.iter().find(|charge| charge.budget.ends_with("subscriptions")).unwrap();
        assert_eq!(credits.units, 6000, "two requests of 3000 credits");
        assert!(connection.idle_timeout_ms > 2 * 30_000);
    }
    // 30,000 credits that refill at 10,000 a second: a window never takes more than flows back in it.
    let subscriptions = budget("subscriptions");
    assert!(subscriptions.units <= 30_000 && subscriptions.units <= subscriptions.window_ms * 10);
    let requests = budget("requests");
    assert!(requests.units <= 50_000 && requests.units <= requests.window_ms * 10);
    let names: BTreeSet<&str> = plan.connections.iter().map(|connection| connection.name.as_str()).collect();
    assert_eq!(names.len(), 7, "connection names are unique");
    assert!(Deribit::load(feed(&[], &[]), many(1866)).is_ok(), "28 connections");
    let refusal = Deribit::load(feed(&[], &[]), many(1867)).unwrap_err();
    assert_eq!((refusal.field.as_str(), refusal.value.as_str()), ("symbols", "5601 channels"));
}

// Goal: a book starts anew on its own connection, by leaving its channel and asking for it again. Method: the last of many.
#[test]
fn a_book_starts_anew_by_its_own_channel() {
    let plan = Deribit::load(feed(&[], &[DataType::Orderbook]), many(250)).unwrap().plan().unwrap();
    let last = plan.resyncs.last().unwrap();
    let ResyncAction::Resubscribe(again) = &last.action else { panic!("a request") };
    assert_eq!((last.instrument, again.connection, last.depth_limit), (249, 1, None));
    assert!(
        again.messages[0].contains("public/unsubscribe") && again.messages[1].contains("public/subscribe")
    );
    assert!(again.messages.iter().all(|message| message.contains("[\"book.A249-PERPETUAL.100ms\"]")));
    assert_eq!(plan.connections[1].streams.last().unwrap().resubscribe, again.messages);
}

// Goal: an acknowledgement is compared with what its own connection asked. Method: the second connection's, whole and with a hole.
#[test]
fn acknowledgements_are_compared_by_connection() {
    let instruments = many(250);
    let adapter = Deribit::load(feed(&[], &[DataType::Trade]), instruments.clone()).unwrap();
    let plan = adapter.plan().unwrap();
    let mut session = Session { adapter, instruments, plan };
    let channels: Vec<String> =
        (200..250).map(|number| format!("trades.A{number}-PERPETUAL.100ms")).collect();
    let ack = |channels: &[String]| {
        format!(r#"{{"jsonrpc":"2.0","id":100,"result":["{}"]}}"#, channels.join("\",\""))
    };
    let came = remarks(&mut session, &[frame(&ack(&channels), 1), frame(&ack(&channels[1..]), 1)]);
    assert_eq!(came[0], Remark::Ignored(Ignored::Acknowledgement));
    let Remark::VenueError(error) = &came[1] else { panic!("{came:?}") };
    assert!(error.text.contains("trades.A200-PERPETUAL.100ms"), "{}", error.text);
    assert!(matches!(remarks(&mut session, &[frame(&ack(&channels), 0)])[0], Remark::VenueError(_)));
}

fn on_open(plan: &Plan) -> String {
    plan.connections.iter().flat_map(|connection| connection.on_open.clone()).collect()
}

// Goal: nothing is subscribed or asked for that the feed does not need. Method: feeds of one data type each.
#[test]
fn only_what_is_needed_is_subscribed() {
    let plan = |data_type| open(&feed(&["BTC-USD", "BTC-USD-261225"], &[data_type])).plan;
    let funding = open(&feed(&["BTC-USD"], &[DataType::FundingRate])).plan;
    assert!(on_open(&funding).contains("[\"ticker.BTC-PERPETUAL.100ms\"]"));
    let refused = Session::<Deribit>::open(&feed(&["BTC-USD-261225"], &[DataType::FundingRate]), &records());
    assert!(refused.unwrap_err().contains("BTC-USD-261225"), "a dated future has no funding");
    let interest = plan(DataType::OpenInterest);
    assert!(on_open(&interest).contains("[\"ticker.BTC-PERPETUAL.100ms\",\"ticker.BTC-25DEC26.100ms\"]"));
    let both = open(&feed(&["BTC-USD"], &[DataType::FundingRate, DataType::OpenInterest])).plan;
    assert_eq!(on_open(&both).matches("ticker.").count(), 1, "one channel");
    assert_eq!(both.connections[0].streams.len(), 2, "two streams");
    let forced = plan(DataType::Liquidation);
    assert!(forced.connections.is_empty() && forced.resyncs.is_empty());
    assert_eq!(forced.polls.len(), 2);
    let window = forced.polls[0].window.as_ref().unwrap();
    assert_eq!((window.from_ago_ms, window.to_ago_ms), (5_400_000, 3_600_000));
    assert!(forced.polls[0].period_ms < window.from_ago_ms - window.to_ago_ms, "every trade is looked at");
    let volatility = open(&feed(&[], &[DataType::VolatilityIndex])).plan;
    assert!(
        on_open(&volatility)
            .contains("deribit_volatility_index.btc_usd\",\"deribit_volatility_index.eth_usd")
    );
    assert!(volatility.polls.is_empty() && volatility.resyncs.is_empty());
    let mut local = feed(&["BTC-USD"], &[DataType::Trade, DataType::Liquidation]);
    let endpoint = |name: &str, url: &str| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    local.endpoints = vec![endpoint("ws", "ws://127.0.0.1:9000/"), endpoint("rest", "http://127.0.0.1:9000")];
    let plan = open(&local).plan;
    assert_eq!(plan.connections[0].url, "ws://127.0.0.1:9000/ws/api/v2");
    assert!(plan.polls[0].request.url.starts_with("http://127.0.0.1:9000/api/v2/public/get_last_trades"));
}

const TRADE: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.X.100ms","data":[{"timestamp":1,"price":100.0,"amount":10.0,"direction":"buy","instrument_name":"X","trade_seq":5,"trade_id":"6"MARK}]}}"#;

fn trade(name: &str, mark: &str) -> OwnedFrame {
    frame(&TRADE.replace('X', name).replace("MARK", mark), 0)
}

// Goal: what the feed does not ask for is ignored by its own reason. Method: feeds of one data type against frames of others.
#[test]
fn frames_outside_the_feed_are_ignored_by_reason() {
    let mut session = open(&feed(&["BTC-USD"], &[DataType::Trade]));
    let book = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{}}}"#;
    let frames = [
        trade("BTC-PERPETUAL", ""),
        trade("ETH-PERPETUAL", ""),
        frame(book, 0),
        frame(&book.replace("book", "ticker"), 0),
        frame(&book.replace("book.BTC-PERPETUAL.100ms", "deribit_volatility_index.btc_usd"), 0),
    ];
    let normalized = session.normalize(&frames, 64);
    assert!(matches!(&normalized.events[..], [event] if matches!(event.payload, Payload::Trade(_))));
    let other = Remark::Ignored(Ignored::OtherDataType);
    let expected = [Remark::Ignored(Ignored::OtherInstrument), other.clone(), other.clone(), other];
    assert_eq!(normalized.notes.into_iter().map(|note| note.remark).collect::<Vec<_>>(), expected);
    assert!(matches!(remarks(&mut session, &[frame("{}", 99)])[0], Remark::Malformed(_)));
}

// Goal: a forced trade is told once, whichever way it comes first, and also when the feed wants no trades. Method: socket and request in
// both orders.
#[test]
fn a_forced_trade_is_told_once() {
    let socket = trade("BTC-PERPETUAL", r#","liquidation":"MT""#);
    let row = r#"{"timestamp":1,"price":100.0,"amount":10.0,"direction":"buy","instrument_name":"BTC-PERPETUAL","trade_seq":5,"liquidation":"MT"}"#;
    let request = format!(r#"{{"result":{{"trades":[{row}],"has_more":false}}}}"#);
    for data_types in [&[DataType::Trade, DataType::Liquidation][..], &[DataType::Liquidation]] {
        let plan = open(&feed(&["BTC-USD"], data_types)).plan;
        let request = frame(&request, u32::try_from(plan.connections.len()).unwrap());
        for order in [[&socket, &request], [&request, &socket]] {
            // Without a channel of trades there is no source for one.
            let order: Vec<OwnedFrame> = order
                .into_iter()
                .filter(|one| one.source != 0 || !plan.connections.is_empty() || *one == &request)
                .cloned()
                .collect();
            let mut session = open(&feed(&["BTC-USD"], data_types));
            let normalized = session.normalize(&order, 64);
            let forced =
                |event: &&marketprism_adapter_sdk::Event| matches!(event.payload, Payload::Liquidation(_));
            assert_eq!(normalized.events.iter().filter(forced).count(), 2, "both sides, once: {order:?}");
        }
    }
    let mut session = open(&feed(&["BTC-USD"], &[DataType::Liquidation, DataType::OpenInterest]));
    assert!(remarks(&mut session, std::slice::from_ref(&socket)).is_empty());
    assert_eq!(remarks(&mut session, &[socket]), [Remark::Ignored(Ignored::Repeated)]);
    let unmarked = trade("BTC-PERPETUAL", "");
    assert_eq!(remarks(&mut session, &[unmarked]), [Remark::Ignored(Ignored::OtherDataType)]);
}
