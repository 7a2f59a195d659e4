use crate::open;
use marketprism_adapter_bybit::Bybit;
use marketprism_adapter_sdk::testkit::{self, endpoint};
use marketprism_adapter_sdk::{
    Adapter, DataType, Feed, Heartbeat, Instrument, MarketType, Plan, ResyncAction,
};
use serde_json::Value;

/// A feed of everything, and an instrument like the first one of the exchange's list.
fn whole(exchange: &str) -> (Feed, Instrument) {
    let feed = testkit::whole_feed::<Bybit>(exchange).unwrap();
    let session = open(&feed);
    (feed, session.instruments[0].clone())
}

fn plan(feed: &Feed, one: &Instrument, count: usize) -> Plan {
    let copy = |number| Instrument { venue_symbol: format!("1000000A{number}USDT"), ..one.clone() };
    Bybit::load(feed.clone(), (0..count).map(copy).collect()).unwrap().plan().unwrap()
}

#[test]
fn three_hundred_contracts_with_every_type_fit() {
    let (feed, one) = whole("bybit_derivatives");
    let plan = plan(&feed, &one, 300);
    assert_eq!(plan.connections.len(), 6, "1200 topics");
    let mut topics = 0;
    for connection in &plan.connections {
        assert_eq!(connection.url, "wss://stream.bybit.com/v5/public/linear");
        let mut characters = 0;
        for text in &connection.on_open {
            let request: Value = serde_json::from_str(text).unwrap();
            assert_eq!(request["op"], "subscribe");
            let names = request["args"].as_array().unwrap();
            assert!(names.len() <= 10);
            topics += names.len();
            characters += names.iter().map(|name| name.as_str().unwrap().len() + 3).sum::<usize>();
        }
        assert!(characters <= 21_000, "{characters} characters of topics");
        assert!(matches!(&connection.heartbeat, Heartbeat::Text(ping) if ping.every_ms == 20_000));
    }
    assert_eq!(topics, 1200, "funding and open interest share a topic");
    let streams = plan.connections.iter().map(|connection| connection.streams.len());
    assert_eq!(streams.sum::<usize>(), 1500);
    assert_eq!((plan.polls.len(), plan.resyncs.len()), (300, 300));
    let drawn: f64 = plan.polls.iter().map(|poll| 5000.0 / f64::from(poll.period_ms)).sum();
    let budget = plan.budgets.iter().find(|budget| budget.name == "bybit.requests").unwrap();
    assert!(drawn < 0.1 * f64::from(budget.units), "{drawn} requests in 5 seconds");
    assert!(budget.units < 600, "less than what shuts out");
}

#[test]
fn books_start_anew_where_they_are_carried() {
    let (mut feed, one) = whole("bybit_derivatives");
    for (depth, levels) in [(1, 50), (50, 50), (51, 200), (200, 200)] {
        feed.depth = depth;
        let plan = plan(&feed, &one, 120);
        assert_eq!(plan.resyncs.len(), 120);
        for resync in &plan.resyncs {
            let ResyncAction::Resubscribe(again) = &resync.action else { panic!("in-band") };
            let connection = &plan.connections[again.connection as usize];
            let stream = connection.streams.iter().find(|stream| {
                stream.data_type == DataType::Orderbook && stream.instrument == Some(resync.instrument)
            });
            assert_eq!(stream.unwrap().resubscribe, again.messages);
            let topic = format!("orderbook.{levels}.1000000A{}USDT", resync.instrument);
            assert!(again.messages.iter().all(|text| text.contains(&topic)), "{:?}", again.messages);
            assert!(connection.on_open.iter().any(|text| text.contains(&topic)));
            assert_eq!(resync.depth_limit, Some(levels));
        }
    }
}

#[test]
fn addresses_can_be_replaced() {
    let (mut feed, one) = whole("bybit_spot");
    feed.endpoints = vec![
        endpoint("ws", "ws://127.0.0.1:9/bybit_spot"),
        endpoint("rest", "http://127.0.0.1:9/bybit_spot"),
    ];
    let plan = plan(&feed, &one, 1);
    assert_eq!(plan.connections[0].url, "ws://127.0.0.1:9/bybit_spot/v5/public/spot");
    assert!(plan.polls.is_empty(), "spot polls nothing");
    let requests = Bybit::instrument_requests(&feed, &[]).unwrap();
    assert!(requests[0].url.starts_with("http://127.0.0.1:9/bybit_spot/v5/market/"));
}

/// A longer silence of such data is a gap, and a contract that nobody trades has the same open interest for hours.
#[test]
fn what_a_ticker_sends_on_change_alone_has_no_expected_silence() {
    let (feed, one) = whole("bybit_derivatives");
    let plan = plan(&feed, &one, 2);
    let streams: Vec<_> = plan.connections.iter().flat_map(|connection| &connection.streams).collect();
    let expected = |kind: DataType| -> Vec<u32> {
        let of = streams.iter().filter(|stream| stream.data_type == kind);
        of.map(|stream| stream.expected_silence_ms).collect()
    };
    assert_eq!(expected(DataType::OpenInterest), [0, 0]);
    let of_funding = expected(DataType::FundingRate);
    let longest_funding_interval_ms = 8 * 3_600_000;
    assert!(of_funding.len() == 2 && of_funding.iter().all(|silence| *silence > longest_funding_interval_ms));
}

#[test]
fn dated_contracts_have_no_funding_and_no_ratio() {
    let (mut feed, one) = whole("bybit_derivatives");
    let dated = Instrument { market_type: MarketType::Futures, ..one.clone() };
    feed.depth = 50;
    let plan = Bybit::load(feed, vec![one, dated]).unwrap().plan().unwrap();
    let streams = plan.connections.iter().flat_map(|connection| &connection.streams);
    let of_dated: Vec<DataType> =
        streams.filter(|stream| stream.instrument == Some(1)).map(|stream| stream.data_type).collect();
    assert!(!of_dated.contains(&DataType::FundingRate) && of_dated.len() == 4, "{of_dated:?}");
    assert!(plan.polls.iter().all(|poll| poll.instrument == Some(0)));
}
