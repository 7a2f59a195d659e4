//! What the adapter refuses, which lists it asks for, and what its plan asks of the edge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::testkit::{self, OwnedFrame, Session};
use marketprism_adapter_sdk::{
    Adapter, Answer, DataType, Decimal, Endpoint, Feed, Heartbeat, Ignored, Instrument, MarketType, Payload,
    Plan, Refusal, Remark, ResyncAction, data_type_name, log, market_type_name,
};
use std::collections::BTreeSet;
use std::path::Path;

fn records(exchange: &str) -> Vec<testkit::Record> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("frames");
    testkit::read(&folder.join(format!("{exchange}.instruments.jsonl"))).unwrap()
}

fn feed(exchange: &str, symbols: &[&str]) -> Feed {
    let symbols = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
    // Everything but options.
    Feed { symbols, market_types: Vec::new(), ..testkit::whole_feed::<Okx>(exchange).unwrap() }
}

fn open(feed: &Feed) -> Session<Okx> {
    Session::open(feed, &records(&feed.exchange)).unwrap()
}

/// The instruments of the feed from these answers, each with the position of its request.
fn listed(feed: &Feed, answers: &[(u32, &str)]) -> Result<Vec<Instrument>, Refusal> {
    let answer = |(request, body): &(u32, &str)| Answer { request: *request, body: body.as_bytes().to_vec() };
    Okx::instruments(feed, answers.iter().map(answer).collect())
}

// Goal: a feed that cannot be served is refused before anything is opened, by field, value and what is
// allowed. Method: each field, and data types that none of the market types has.
#[test]
fn feeds_that_cannot_be_served_are_refused() {
    let refused = |exchange: &str, change: &dyn Fn(&mut Feed)| {
        let mut feed = feed(exchange, &[]);
        change(&mut feed);
        let refusal = Okx::instrument_requests(&feed, &[]).unwrap_err();
        assert!(!refusal.allowed.is_empty());
        (refusal.field, refusal.value)
    };
    let spot = |change: &dyn Fn(&mut Feed)| refused("okx_spot", change);
    let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
    assert_eq!(spot(&|feed| feed.exchange = "okx".to_owned()), pair("exchange", "okx"));
    assert_eq!(spot(&|feed| feed.data_types.clear()), pair("data_types", "[]"));
    for data_type in [DataType::FundingRate, DataType::OpenInterest, DataType::Liquidation] {
        let name = data_type_name(data_type);
        assert_eq!(spot(&|feed| feed.data_types.push(data_type)), pair("data_types", name));
    }
    assert_eq!(
        refused("okx_derivatives", &|feed| feed.data_types.push(DataType::VolatilityIndex)),
        pair("data_types", "volatility_index")
    );
    assert_eq!(
        spot(&|feed| feed.market_types.push(MarketType::Perpetual)),
        pair("market_types", "perpetual")
    );
    assert_eq!(spot(&|feed| feed.depth = 401), pair("depth", "401"));
    assert_eq!(spot(&|feed| feed.depth = 0), pair("depth", "0"));
    let endpoint = |name: &str, url: &str| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    assert_eq!(spot(&|feed| feed.endpoints.push(endpoint("wss", "wss://x"))), pair("endpoints", "wss"));
    assert_eq!(spot(&|feed| feed.endpoints.push(endpoint("ws", "x:1"))), pair("endpoints.ws", "x:1"));
    for (market_type, data_type) in [
        (MarketType::Futures, DataType::FundingRate),
        (MarketType::Futures, DataType::LsrAllAccount),
        (MarketType::Options, DataType::Liquidation),
        (MarketType::Options, DataType::LsrTopPosition),
    ] {
        let cell = |feed: &mut Feed| {
            (feed.market_types, feed.data_types) = (vec![market_type], vec![DataType::Trade, data_type]);
        };
        assert_eq!(refused("okx_derivatives", &cell), pair("market_types", market_type_name(market_type)));
    }
    let mut named = feed("okx_derivatives", &["BTC-USDT-260327"]);
    named.data_types = vec![DataType::FundingRate];
    let fault = Session::<Okx>::open(&named, &records("okx_derivatives")).unwrap_err();
    assert!(fault.contains("funding_rate"), "an instrument without the data type: {fault}");
}

// Goal: the lists that are asked for are those of the feed's market types, options family by family. Method: the
// requests of feeds, round by round.
#[test]
fn lists_are_asked_for_by_type_and_family() {
    let asked = |feed: &Feed, answers: &[(u32, &str)]| -> Vec<String> {
        let answer =
            |(request, body): &(u32, &str)| Answer { request: *request, body: body.as_bytes().to_vec() };
        let answers: Vec<Answer> = answers.iter().map(answer).collect();
        let requests = Okx::instrument_requests(feed, &answers).unwrap();
        let after = |url: &str| url.strip_prefix("https://www.okx.com/api/v5/public/").unwrap().to_owned();
        requests.iter().map(|request| after(&request.url)).collect()
    };
    let of = |market_types: &[MarketType], symbols: &[&str]| Feed {
        market_types: market_types.to_vec(),
        data_types: vec![DataType::Trade],
        ..feed("okx_derivatives", symbols)
    };
    assert_eq!(asked(&feed("okx_spot", &[]), &[]), ["instruments?instType=SPOT"]);
    assert!(asked(&feed("okx_spot", &[]), &[(0, "{}")]).is_empty());
    let (swap, futures) = ("instruments?instType=SWAP", "instruments?instType=FUTURES");
    assert_eq!(asked(&of(&[], &[]), &[]), [swap, futures]);
    assert_eq!(asked(&of(&[MarketType::Perpetual], &[]), &[]), [swap, futures], "X-Perps are futures");
    assert_eq!(asked(&of(&[MarketType::Futures], &[]), &[]), [futures]);
    let options = of(&[MarketType::Futures, MarketType::Options], &[]);
    assert_eq!(asked(&options, &[]), [futures, "underlying?instType=OPTION"]);
    let named = r#"{"code":"0","data":[["ETH-USD","BTC-USD","A B&c"]],"msg":""}"#;
    let families = asked(&options, &[(0, "{}"), (1, named)]);
    let family = |name: &str| format!("instruments?instType=OPTION&instFamily={name}");
    assert_eq!(families, [family("A%20B%26c"), family("BTC-USD"), family("ETH-USD")]);
    assert!(asked(&options, &[(0, "{}"), (1, named), (2, "{}")]).is_empty());
    assert!(asked(&options, &[(0, "{}")]).is_empty(), "a recording may lack the list");
    let symbols = ["BTC-USD-251226-100000-C", "BTC-USD-251226-80000-P", "ETH-USD-260327"];
    let named = of(&[MarketType::Futures, MarketType::Options], &symbols);
    assert_eq!(asked(&named, &[]), [futures.to_owned(), family("BTC-USD")]);
    let refusal = Okx::instrument_requests(
        &options,
        &[Answer { request: 1, body: br#"{"code":"50013","data":[],"msg":"busy"}"#.to_vec() }],
    );
    assert_eq!(refusal.unwrap_err().value, "code 50013: busy");
}

// Goal: symbols are exactly those of the venue's lists; a wrong one is named with what was meant, and an answer in
// which the venue refuses is no list. Method: real and wrong symbols, damaged and missing answers.
#[test]
fn symbols_come_from_the_lists_or_are_refused() {
    let lists = records("okx_derivatives");
    let body = |index: usize| lists[index].data.as_str();
    let symbols = |feed: &Feed, answers: &[(u32, &str)]| -> Vec<String> {
        listed(feed, answers).unwrap().into_iter().map(|one| one.symbol).collect()
    };
    let two = feed("okx_derivatives", &["BTC-USDT", "BTC-USDT-260327", "BTC-USDT"]);
    assert_eq!(symbols(&two, &[(0, body(0)), (1, body(1))]), ["BTC-USDT", "BTC-USDT-260327"]);
    let wrong = feed("okx_derivatives", &["BTC-USDT", "btcusdt", "ODD-USDT"]);
    let refusal = listed(&wrong, &[(0, body(0)), (1, body(1))]).unwrap_err();
    assert_eq!((refusal.field.as_str(), refusal.value.as_str()), ("symbols", "btcusdt, ODD-USDT"));
    assert!(refusal.allowed.contains("BTC-USDT"), "{}", refusal.allowed);
    log::captured();
    assert_eq!(symbols(&feed("okx_derivatives", &["LUNA-USDT"]), &[(0, body(0))]), ["LUNA-USDT"]);
    let said = log::captured();
    assert!(said[0].1.contains("ODD-USDT-SWAP"), "contracts of unknown size are told: {said:?}");
    assert!(said[1].1.contains("not trading"), "a symbol that was asked for but rests is told: {said:?}");
    let all = feed("okx_derivatives", &[]);
    assert_eq!(symbols(&all, &[(1, body(1))]).len(), 6, "a list may be missing");
    assert_eq!(symbols(&all, &[(1, body(1)), (2, body(2))]).len(), 6, "a list of something else has none");
    let (market_types, data_types) = (vec![MarketType::Options], vec![DataType::Trade]);
    let options = Feed { market_types, data_types, ..all.clone() };
    assert_eq!(listed(&options, &[(0, body(2))]).unwrap_err().field, "symbols", "no list of options");
    let error = r#"{"code":"50011","data":[],"msg":"Too Many Requests"}"#;
    assert_eq!(listed(&all, &[(0, error)]).unwrap_err().value, "code 50011: Too Many Requests");
    for body in ["", "{}", "<html>", r#"{"code":"0"}"#, r#"{"code":"0","data":[{"instId""#] {
        assert_eq!(listed(&all, &[(0, body)]).unwrap_err().field, "instruments", "{body}");
    }
}

// Goal: of two instruments with one normalized name the plain one that trades is kept, and the other is told.
// Method: an X-Perp beside the swap of its pair, in both states of the swap.
#[test]
fn one_name_has_one_instrument() {
    let row = |name: &str, kind: &str, contract: &str, state: &str| {
        let currency = if contract == "inverse" { "USD" } else { "BTC" };
        format!(
            r#"{{"instType":"{kind}","instId":"{name}","uly":"BTC-USD","ctType":"{contract}","ctVal":"100","ctMult":"1","ctValCcy":"{currency}","tickSz":"0.1","lotSz":"1","state":"{state}"}}"#
        )
    };
    for (state, expected) in [("live", "BTC-USD-SWAP"), ("suspend", "BTC-USD_UM_XPERP-310404")] {
        let rows = [
            row("BTC-USD_UM_XPERP-310404", "FUTURES", "linear", "live"),
            row("BTC-USD-SWAP", "SWAP", "inverse", state),
        ];
        let body = format!(r#"{{"code":"0","data":[{}],"msg":""}}"#, rows.join(","));
        log::captured();
        let found = listed(&feed("okx_derivatives", &["BTC-USD"]), &[(0, &body)]).unwrap();
        let names: Vec<&str> = found.iter().map(|one| one.venue_symbol.as_str()).collect();
        assert_eq!(names, [expected]);
        assert!(log::captured()[0].1.contains("left out"));
    }
}

// Goal: amounts of unknown meaning are never read. Method: instruments without size, with two, with a negative one.
#[test]
fn instruments_without_one_contract_size_are_refused() {
    let derivatives = feed("okx_derivatives", &[]);
    let swap = open(&derivatives).instruments.swap_remove(0);
    let some = |mantissa| Some(Decimal { mantissa, scale: 0 });
    for (contract_size, contract_value) in
        [(None, None), (some(1), some(1)), (some(-1), None), (None, some(0))]
    {
        let instrument = Instrument { contract_size, contract_value, ..swap.clone() };
        let refusal = Okx::load(derivatives.clone(), vec![instrument]).unwrap_err();
        assert_eq!(refusal.field, "instruments");
    }
    let spot = feed("okx_spot", &[]);
    assert_eq!(Okx::load(spot, vec![swap]).unwrap_err().field, "instruments");
}

/// A feed of so many swaps, loaded.
fn many(count: usize) -> Plan {
    let derivatives = feed("okx_derivatives", &[]);
    let one = open(&feed("okx_derivatives", &["BTC-USDT"])).instruments[0].clone();
    let swap = |number: usize| {
        let (symbol, venue_symbol) = (format!("A{number}-USDT"), format!("A{number}-USDT-SWAP"));
        Instrument { symbol, venue_symbol, ..one.clone() }
    };
    Okx::load(derivatives, (0..count).map(swap).collect()).unwrap().plan().unwrap()
}

// Goal: the plan keeps the venue's limits: few deep books on a connection, small messages, 480 requests an hour, 3
// connections a second, 5 questions in 2 seconds of one instrument. Method: a feed of 300 swaps.
#[test]
fn plans_keep_the_venues_limits() {
    let plan = many(300);
    let books: Vec<_> = plan.connections.iter().filter(|one| one.name.starts_with("books-")).collect();
    assert_eq!((books.len(), plan.connections.len()), (12, 16));
    let mut streams = 0;
    for connection in &plan.connections {
        assert_eq!(connection.url, "wss://ws.okx.com/ws/v5/public");
        assert!(connection.streams.len() <= 240);
        assert!((connection.messages_max, connection.messages_window_ms) == (480, 3_600_000));
        assert!(connection.on_open.len() <= 3);
        assert!(connection.on_open.iter().all(|message| message.len() < 16 << 10));
        let Heartbeat::Text(text) = &connection.heartbeat else { panic!("a text heartbeat") };
        assert_eq!((text.send.as_str(), text.every_ms), ("ping", 20_000));
        assert!(connection.idle_timeout_ms > 2 * text.every_ms);
        let asked: usize = connection.on_open.iter().map(|message| message.matches("channel").count()).sum();
        assert_eq!(asked, connection.streams.len());
        streams += asked;
    }
    assert!(books.iter().all(|connection| connection.streams.len() < 30));
    assert_eq!(streams, 4 * 300 + 1, "liquidations come in one stream");
    let names: BTreeSet<&str> = plan.connections.iter().map(|connection| connection.name.as_str()).collect();
    assert_eq!(names.len(), plan.connections.len(), "connection names are unique");
    assert_eq!(plan.polls.len(), 600);
    let charges = plan.connections.iter().flat_map(|connection| &connection.charges);
    for charge in charges.chain(plan.polls.iter().flat_map(|poll| &poll.request.charges)) {
        let budget = plan.budgets.iter().find(|budget| budget.name == charge.budget).unwrap();
        assert!(charge.units <= budget.units);
    }
    let limit = |name: &str| {
        let budget = plan.budgets.iter().find(|budget| budget.name == name).unwrap();
        (budget.units, budget.window_ms)
    };
    assert_eq!(limit("okx.connects"), (3, 1000));
    assert_eq!(limit("okx.ratios.A0-USDT-SWAP"), (5, 2000));
}

// Goal: a book starts anew on the connection that carries it. Method: every resync against its connection's streams.
#[test]
fn resyncs_go_to_the_books_connection() {
    let plan = many(60);
    assert_eq!(plan.resyncs.len(), 60);
    for resync in &plan.resyncs {
        let ResyncAction::Resubscribe(again) = &resync.action else { panic!("a resubscription") };
        let connection = &plan.connections[again.connection as usize];
        let stream = connection.streams.iter().find(|one| one.instrument == Some(resync.instrument)).unwrap();
        assert_eq!((stream.data_type, &stream.resubscribe), (DataType::Orderbook, &again.messages));
        let name = format!(r#""args":[{{"channel":"books","instId":"A{}-USDT-SWAP"}}]"#, resync.instrument);
        assert_eq!(again.messages[0], format!(r#"{{"op":"unsubscribe",{name}}}"#));
        assert_eq!(again.messages[1], format!(r#"{{"op":"subscribe",{name}}}"#));
        assert_eq!(resync.depth_limit, None);
    }
}

// Goal: each data type goes only to instruments that have it, at the addresses of the user. Method: one instrument of
// each kind, with replaced endpoints.
#[test]
fn data_types_go_to_the_instruments_that_have_them() {
    let symbols = ["BTC-USDT", "BTC-USD", "BTC-USDT-260327", "BTC-USD-251226-100000-C"];
    let mut feed = feed("okx_derivatives", &symbols);
    feed.market_types = vec![MarketType::Perpetual, MarketType::Futures, MarketType::Options];
    let endpoint = |name: &str, url: &str| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    feed.endpoints = vec![
        endpoint("ws", "ws://127.0.0.1:9000/okx_derivatives/"),
        endpoint("rest", "http://127.0.0.1:9000/okx_derivatives"),
    ];
    let instruments = {
        let known = Feed { endpoints: Vec::new(), ..feed.clone() };
        open(&known).instruments
    };
    let plan = Okx::load(feed, instruments.clone()).unwrap().plan().unwrap();
    let carried = |data_type: DataType| -> Vec<&str> {
        let streams = plan.connections.iter().flat_map(|connection| &connection.streams);
        let named = streams.filter(|stream| stream.data_type == data_type);
        named
            .map(|stream| match stream.instrument {
                Some(index) => instruments[index as usize].venue_symbol.as_str(),
                None => {
                    if stream.resubscribe[1].contains(r#""instType":"SWAP""#) {
                        "SWAP"
                    } else {
                        "FUTURES"
                    }
                }
            })
            .collect()
    };
    let (swap, future) = ("BTC-USDT-SWAP", "BTC-USDT-260327");
    let (option, x_perp) = ("BTC-USD-251226-100000-C", "BTC-USD_UM_XPERP-310404");
    assert_eq!(carried(DataType::Trade), [x_perp, option, swap, future]);
    assert_eq!(carried(DataType::Orderbook), carried(DataType::Trade));
    assert_eq!(carried(DataType::OpenInterest), carried(DataType::Trade));
    assert_eq!(carried(DataType::FundingRate), [x_perp, swap]);
    assert_eq!(carried(DataType::Liquidation), ["SWAP", "FUTURES"]);
    let polled: Vec<&str> = plan.polls.iter().map(|poll| poll.request.url.as_str()).collect();
    let base = "http://127.0.0.1:9000/okx_derivatives/api/v5/rubik/stat/contracts";
    let top = |name: &str| {
        format!("{base}/long-short-position-ratio-contract-top-trader?instId={name}&period=5m&limit=1")
    };
    let all =
        |name: &str| format!("{base}/long-short-account-ratio-contract?instId={name}&period=5m&limit=1");
    assert_eq!(polled, [top(x_perp), top(swap), all(x_perp), all(swap)]);
    assert!(plan.connections.iter().all(|one| one.url == "ws://127.0.0.1:9000/okx_derivatives/ws/v5/public"));
}

// Goal: what the feed does not ask for is ignored by its own reason, and a source beyond the plan is no answer.
// Method: a feed of trades of one symbol against frames of trades and books of two, and a stray source.
#[test]
fn frames_outside_the_feed_are_ignored_by_reason() {
    let mut only_trades = feed("okx_spot", &["BTC-USDT"]);
    only_trades.data_types = vec![DataType::Trade];
    let mut session = open(&only_trades);
    let trade = r#"{"arg":{"channel":"trades","instId":"NAME"},"data":[{"instId":"NAME","tradeId":"1","px":"1","sz":"1","side":"buy","ts":"1"}]}"#;
    let book = r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[],"bids":[],"ts":"1","prevSeqId":1,"seqId":1}]}"#;
    let texts = [trade.replace("NAME", "BTC-USDT"), trade.replace("NAME", "ETH-BTC"), book.to_owned()];
    let frame = |text: &String| OwnedFrame { bytes: text.clone().into_bytes(), source: 0, at: 0 };
    let frames: Vec<_> = texts.iter().map(frame).collect();
    let normalized = session.normalize(&frames, 64);
    assert!(matches!(&normalized.events[0].payload, Payload::Trade(trade) if trade.instrument == 0));
    let remarks: Vec<&Remark> = normalized.notes.iter().map(|note| &note.remark).collect();
    assert_eq!(
        remarks,
        [&Remark::Ignored(Ignored::OtherInstrument), &Remark::Ignored(Ignored::OtherDataType)]
    );
    let stray = OwnedFrame { bytes: br#"{"code":"0","data":[]}"#.to_vec(), source: 99, at: 0 };
    assert!(matches!(session.normalize(&[stray], 1).notes[0].remark, Remark::Malformed(_)));
}

// Goal: binary and arbitrary bytes never crash the adapter. Method: seeded bytes, and a book in another encoding.
#[test]
fn garbage_is_malformed() {
    let mut session = open(&feed("okx_derivatives", &[]));
    let mut state = 7u64;
    for _ in 0..2000 {
        let mut bytes = Vec::new();
        for _ in 0..state % 90 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.push((state >> 33) as u8);
        }
        state = state.wrapping_add(1);
        let normalized = session.normalize(&[OwnedFrame { bytes, source: 0, at: 0 }], 1);
        assert!(normalized.events.is_empty() && normalized.notes.len() == 1);
    }
}
