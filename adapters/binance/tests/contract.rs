//! What the adapter refuses, and what its plan asks of the edge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use marketprism_adapter_binance::Binance;
use marketprism_adapter_sdk::testkit::{self, Session};
use marketprism_adapter_sdk::{
    Adapter, Answer, DataType, Endpoint, Feed, Ignored, MarketType, Payload, Plan, Refusal, Remark,
    ResyncAction, log,
};
use std::path::Path;

fn records(exchange: &str) -> Vec<testkit::Record> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("frames");
    testkit::read(&folder.join(format!("{exchange}.instruments.jsonl"))).unwrap()
}

fn feed(exchange: &str, symbols: &[&str]) -> Feed {
    let symbols = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
    Feed { symbols, ..testkit::whole_feed::<Binance>(exchange).unwrap() }
}

fn open(feed: &Feed) -> Session<Binance> {
    Session::open(feed, &records(&feed.exchange)).unwrap()
}

fn instruments(feed: &Feed) -> Result<Vec<String>, Refusal> {
    let body = records(&feed.exchange)[0].data.clone().into_bytes();
    let found = Binance::instruments(feed, vec![Answer { request: 0, body }])?;
    Ok(found.into_iter().map(|instrument| instrument.symbol).collect())
}

// Goal: a feed that cannot be served is refused before anything is opened, by field, value and what is
// allowed. Method: each field.
#[test]
fn feeds_that_cannot_be_served_are_refused() {
    let refused = |change: &dyn Fn(&mut Feed)| {
        let mut feed = feed("binance_spot", &["BTC-USDT"]);
        change(&mut feed);
        let refusal = Binance::instrument_requests(&feed, &[]).unwrap_err();
        assert!(!refusal.allowed.is_empty());
        (refusal.field, refusal.value)
    };
    let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
    assert_eq!(refused(&|feed| feed.exchange = "binance".to_owned()), pair("exchange", "binance"));
    assert_eq!(refused(&|feed| feed.data_types.clear()), pair("data_types", "[]"));
    assert_eq!(
        refused(&|feed| feed.data_types.push(DataType::FundingRate)),
        pair("data_types", "funding_rate")
    );
    assert_eq!(refused(&|feed| feed.market_types.push(MarketType::Options)), pair("market_types", "options"));
    assert_eq!(refused(&|feed| feed.depth = 5001), pair("depth", "5001"));
    assert_eq!(refused(&|feed| feed.depth = 0), pair("depth", "0"));
    let endpoint = |name: &str, url: &str| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
    assert_eq!(refused(&|feed| feed.endpoints.push(endpoint("wss", "wss://x"))), pair("endpoints", "wss"));
    assert_eq!(
        refused(&|feed| feed.endpoints.push(endpoint("ws", "x:9443"))),
        pair("endpoints.ws", "x:9443")
    );
    let mut trades_only = feed("binance_derivatives", &["BTC-USDT"]);
    (trades_only.data_types, trades_only.depth) = (vec![DataType::Trade], 0);
    assert!(Binance::instrument_requests(&trades_only, &[]).is_ok(), "depth is for books");
}

// Goal: symbols are exactly those of the venue's list; a wrong one is named with what was meant. Method: real
// and wrong symbols.
#[test]
fn symbols_come_from_the_list_or_are_refused() {
    let spot = |symbols: &[&str]| instruments(&feed("binance_spot", symbols));
    assert_eq!(spot(&["NKN-USDT", "BTC-FDUSD", "NKN-USDT"]).unwrap(), ["BTC-FDUSD", "NKN-USDT"]);
    let refusal = spot(&["BTC-USDT", "BTCFD-USD", "btcusdt"]).unwrap_err();
    assert_eq!((refusal.field.as_str(), refusal.value.as_str()), ("symbols", "BTCFD-USD, btcusdt"));
    assert!(
        refusal.allowed.contains("BTC-FDUSD") && refusal.allowed.contains("BTC-USDT"),
        "{}",
        refusal.allowed
    );
    log::captured();
    assert_eq!(spot(&["1000SATS-FDUSD"]).unwrap(), ["1000SATS-FDUSD"]);
    assert!(log::captured()[0].1.contains("not trading"), "a symbol that was asked for but rests is told");
    let mut futures = feed("binance_derivatives", &[]);
    futures.market_types = vec![MarketType::Futures];
    assert_eq!(instruments(&futures).unwrap(), ["BTC-USDT-260327", "BTC-USDT-260626"]);
    let refusal = instruments(&feed("binance_derivatives", &["BTC-USDT-260327", "ODD-USDT"])).unwrap_err();
    assert_eq!(refusal.value, "ODD-USDT", "a contract of unknown kind is not guessed");
    for body in [
        "",
        "{}",
        "<html>",
        "{\"symbols\":[{\"symbol\":\"A\"",
        "{\"symbols\":{}}",
        "{\"code\":-1,\"msg\":\"x\"}",
    ] {
        let answers = vec![Answer { request: 0, body: body.as_bytes().to_vec() }];
        assert_eq!(
            Binance::instruments(&feed("binance_spot", &[]), answers).unwrap_err().field,
            "exchangeInfo",
            "{body}"
        );
    }
}

// Goal: the plan keeps the venue's limits and paths. Method: a feed of 450 instruments, and one of each
// exchange.
#[test]
fn plans_keep_the_venues_limits() {
    let mut spot = feed("binance_spot", &[]);
    spot.depth = 400;
    let one = open(&spot).instruments[0].clone();
    let many = (0..450).map(|number| {
        let (symbol, venue_symbol) = (format!("A{number}-USDT"), format!("A{number}USDT"));
        marketprism_adapter_sdk::Instrument { symbol, venue_symbol, trading: true, ..one.clone() }
    });
    let plan = Binance::load(spot.clone(), many.collect()).unwrap().plan().unwrap();
    let sizes: Vec<usize> = plan.connections.iter().map(|connection| connection.streams.len()).collect();
    assert_eq!(sizes, [200, 200, 200, 200, 100]);
    for connection in &plan.connections {
        assert_eq!(connection.url, "wss://stream.binance.com:9443/stream");
        assert!(connection.messages_max < 5 && connection.max_age_ms < 24 * 3_600_000);
        assert!(
            connection
                .on_open
                .iter()
                .all(|message| message.len() < 4096 && message.matches('@').count() <= 200)
        );
    }
    let names: std::collections::BTreeSet<&str> =
        plan.connections.iter().map(|connection| connection.name.as_str()).collect();
    assert_eq!(names.len(), 5, "connection names are unique");
    assert_eq!(snapshot_limit(&plan), ("limit=1000".to_owned(), 50));
    let mut futures = feed("binance_derivatives", &["BTC-USDT"]);
    futures.endpoints = vec![Endpoint {
        name: "ws".to_owned(),
        default_url: "ws://127.0.0.1:9000/binance_derivatives/".to_owned(),
    }];
    let plan = open(&futures).plan;
    let urls: Vec<&str> = plan.connections.iter().map(|connection| connection.url.as_str()).collect();
    let base = "ws://127.0.0.1:9000/binance_derivatives";
    assert_eq!(urls, [format!("{base}/public/stream"), format!("{base}/market/stream")]);
    assert!(plan.connections[1].on_open[0].contains("btcusdt@aggTrade"));
}

// Goal: a snapshot costs no more weight than the depth needs. Method: depths around the venue's tiers.
#[test]
fn snapshots_are_as_deep_as_needed() {
    let limit = |exchange: &str, depth: u32| {
        let mut feed = feed(exchange, &["BTC-USDT"]);
        feed.depth = depth;
        snapshot_limit(&open(&feed).plan)
    };
    for (depth, expected, weight) in [
        (20, "limit=100", 5),
        (50, "limit=100", 5),
        (51, "limit=500", 25),
        (1000, "limit=1000", 50),
        (1001, "limit=5000", 250),
    ] {
        assert_eq!(limit("binance_spot", depth), (expected.to_owned(), weight), "depth {depth}");
    }
    for (depth, expected, weight) in
        [(20, "limit=50", 2), (50, "limit=100", 5), (250, "limit=500", 10), (1000, "limit=1000", 20)]
    {
        assert_eq!(limit("binance_derivatives", depth), (expected.to_owned(), weight), "depth {depth}");
    }
}

fn snapshot_limit(plan: &Plan) -> (String, u32) {
    let ResyncAction::Request(request) = &plan.resyncs[0].action else { panic!("a resync without request") };
    (request.url.rsplit('&').next().unwrap().to_owned(), request.charges[0].units)
}

// Goal: what the feed does not ask for is ignored by its own reason, and an instrument keeps its number.
// Method: a feed of trades of one symbol against frames of trades and books of two.
#[test]
fn frames_outside_the_feed_are_ignored_by_reason() {
    let mut only_trades = feed("binance_spot", &["NKN-USDT"]);
    only_trades.data_types = vec![DataType::Trade];
    let mut session = open(&only_trades);
    let trade = r#"{"e":"trade","E":1,"s":"SYMBOL","t":1,"p":"1.0","q":"1.0","T":1,"m":true,"M":true}"#;
    let depth = r#"{"e":"depthUpdate","E":1,"s":"SYMBOL","U":1,"u":1,"b":[],"a":[]}"#;
    let texts = [
        trade.replace("SYMBOL", "NKNUSDT"),
        trade.replace("SYMBOL", "BTCUSDT"),
        depth.replace("SYMBOL", "NKNUSDT"),
    ];
    let frame = |text: &String| testkit::OwnedFrame { bytes: text.clone().into_bytes(), source: 0, at: 0 };
    let frames: Vec<_> = texts.iter().map(frame).collect();
    let normalized = session.normalize(&frames, 64);
    assert!(matches!(&normalized.events[0].payload, Payload::Trade(trade) if trade.instrument == 0));
    let remarks: Vec<&Remark> = normalized.notes.iter().map(|note| &note.remark).collect();
    assert_eq!(
        remarks,
        [&Remark::Ignored(Ignored::OtherInstrument), &Remark::Ignored(Ignored::OtherDataType)]
    );
    let stray = testkit::OwnedFrame { bytes: b"{}".to_vec(), source: 99, at: 0 };
    assert!(matches!(session.normalize(&[stray], 1).notes[0].remark, Remark::Malformed(_)));
}
