use crate::{feed, open};
use marketprism_adapter_binance::Binance;
use marketprism_adapter_sdk::testkit::endpoint;
use marketprism_adapter_sdk::{Adapter, DataType, Feed, Instrument, MarketType, Plan, ResyncAction};
use std::collections::{BTreeMap, BTreeSet};

fn many(feed: &Feed, count: usize) -> Vec<Instrument> {
    let one = open(feed).instruments[0].clone();
    let copy = |number| {
        let (symbol, venue_symbol) = (format!("A{number}-USDT"), format!("A{number}USDT"));
        Instrument { symbol, venue_symbol, trading: true, ..one.clone() }
    };
    (0..count).map(copy).collect()
}

#[test]
fn plans_keep_the_venues_limits() {
    let mut spot = feed("binance_spot", &[]);
    spot.depth = 400;
    let plan = Binance::load(spot.clone(), many(&spot, 450)).unwrap().plan().unwrap();
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
    let names: BTreeSet<&str> = plan.connections.iter().map(|connection| connection.name.as_str()).collect();
    assert_eq!(names.len(), 5, "connection names are unique");
    assert_eq!(snapshot_limit(&plan), ("limit=1000".to_owned(), 50));
    let mut futures = feed("binance_derivatives", &["BTC-USDT"]);
    futures.endpoints = vec![endpoint("ws", "ws://127.0.0.1:9000/binance_derivatives/")];
    let plan = open(&futures).plan;
    let urls: Vec<&str> = plan.connections.iter().map(|connection| connection.url.as_str()).collect();
    let base = "ws://127.0.0.1:9000/binance_derivatives";
    assert_eq!(urls, [format!("{base}/market/stream"), format!("{base}/public/stream")]);
    for stream in ["btcusdt@aggTrade", "btcusdt@markPrice@1s", "btcusdt@forceOrder"] {
        assert!(plan.connections[0].on_open[0].contains(stream), "{stream}");
    }
    assert!(plan.connections[1].on_open[0].contains("btcusdt@depth@100ms"));
}

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

#[test]
fn three_hundred_instruments_with_every_type_fit() {
    let futures = feed("binance_derivatives", &[]);
    let plan = Binance::load(futures.clone(), many(&futures, 300)).unwrap().plan().unwrap();
    let sizes: Vec<(&str, usize)> = plan
        .connections
        .iter()
        .map(|connection| (connection.name.as_str(), connection.streams.len()))
        .collect();
    let market = |number: usize| ["market-1", "market-2", "market-3", "market-4", "market-5"][number];
    let expected: Vec<(&str, usize)> = (0..5)
        .map(|number| (market(number), if number < 4 { 200 } else { 100 }))
        .chain([("public-1", 200), ("public-2", 100)])
        .collect();
    assert_eq!(sizes, expected);
    let messages = plan.connections.iter().map(|connection| connection.on_open.len()).max().unwrap();
    assert!(messages <= 2, "{messages} messages at once");
    assert_eq!((plan.polls.len(), plan.resyncs.len()), (1 + 3 * 300, 300));
    assert_eq!(plan.polls.iter().filter(|poll| poll.reference).count(), 1);
    assert!(plan.polls.iter().all(|poll| poll.window.is_none()));
    let mut drawn: BTreeMap<&str, f64> = BTreeMap::new();
    for poll in &plan.polls {
        for charge in &poll.request.charges {
            let units = f64::from(charge.units) * 60_000.0 / f64::from(poll.period_ms);
            *drawn.entry(&charge.budget).or_default() += units;
        }
    }
    for (name, units) in drawn {
        let budget = plan.budgets.iter().find(|budget| budget.name == name).unwrap();
        let allowed = f64::from(budget.units) * 60_000.0 / f64::from(budget.window_ms);
        assert!(units <= 0.81 * allowed, "{name}: {units} of {allowed} a minute");
    }
    let period = |data_type| {
        plan.polls.iter().find(|poll| poll.data_type == data_type && !poll.reference).unwrap().period_ms
    };
    assert_eq!(period(DataType::OpenInterest), 30_000);
    assert!(period(DataType::LsrTopPosition) < 300_000, "no row of five minutes is missed");
}

#[test]
fn poll_periods_follow_the_number_of_instruments() {
    let futures = feed("binance_derivatives", &[]);
    let poll = |count: usize, data_type: DataType| {
        let plan = Binance::load(futures.clone(), many(&futures, count)).unwrap().plan().unwrap();
        let poll = plan.polls.iter().find(|poll| poll.data_type == data_type).unwrap().clone();
        (poll.period_ms, poll.request.url.rsplit('&').next().unwrap().to_owned())
    };
    assert_eq!(poll(1, DataType::OpenInterest).0, 15_000);
    assert_eq!(poll(600, DataType::OpenInterest).0, 60_000);
    assert_eq!(poll(1, DataType::LsrAllAccount), (60_000, "limit=1".to_owned()));
    assert_eq!(poll(400, DataType::LsrAllAccount), (300_000, "limit=1".to_owned()));
    assert_eq!(poll(600, DataType::LsrAllAccount), (450_000, "limit=2".to_owned()));
}

#[test]
fn dated_contracts_have_no_funding_and_no_ratios() {
    let both = open(&feed("binance_derivatives", &["BTC-USDT", "BTC-USDT-260327"]));
    let dated =
        both.instruments.iter().position(|one| one.market_type == MarketType::Futures).unwrap() as u32;
    let streams = both.plan.connections.iter().flat_map(|connection| &connection.streams);
    let pushed: BTreeSet<u8> = streams
        .filter(|stream| stream.instrument == Some(dated))
        .map(|stream| stream.data_type as u8)
        .collect();
    let expected = [DataType::Trade, DataType::Orderbook, DataType::Liquidation].map(|of| of as u8);
    assert_eq!(pushed, BTreeSet::from(expected));
    let polls = both.plan.polls.iter().filter(|poll| poll.instrument == Some(dated));
    let polled: Vec<DataType> = polls.map(|poll| poll.data_type).collect();
    assert_eq!(polled, [DataType::OpenInterest]);
    for data_type in [DataType::FundingRate, DataType::LsrTopPosition, DataType::LsrAllAccount] {
        let mut alone = feed("binance_derivatives", &["BTC-USDT-260327"]);
        alone.data_types = vec![data_type];
        let dated = vec![both.instruments[dated as usize].clone()];
        let refusal = Binance::load(alone, dated).unwrap_err();
        assert_eq!(refusal.field, "data_types");
        assert!(refusal.allowed.contains("perpetual"), "{}", refusal.allowed);
    }
}

#[test]
fn streams_declare_their_silence_and_their_messages() {
    let plan = open(&feed("binance_derivatives", &["BTC-USDT", "BTC-USDT-260327"])).plan;
    for stream in plan.connections.iter().flat_map(|connection| &connection.streams) {
        let expected: &[u32] = match stream.data_type {
            DataType::Trade => &[600_000, 3_600_000],
            DataType::Orderbook => &[30_000],
            DataType::FundingRate => &[15_000],
            _ => &[0],
        };
        assert!(expected.contains(&stream.expected_silence_ms), "{stream:?}");
        let [leave, join] = &stream.resubscribe[..] else { panic!("{stream:?}") };
        assert!(leave.starts_with(r#"{"method":"UNSUBSCRIBE","params":["#));
        assert!(join.starts_with(r#"{"method":"SUBSCRIBE","params":["#));
        let name = |message: &str| message.split('"').nth(7).unwrap().to_owned();
        assert_eq!(name(leave), name(join));
    }
}

fn snapshot_limit(plan: &Plan) -> (String, u32) {
    let ResyncAction::Request(request) = &plan.resyncs[0].action else { panic!("a resync without request") };
    (request.url.rsplit('&').next().unwrap().to_owned(), request.charges[0].units)
}
