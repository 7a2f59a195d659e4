use crate::{open, without_options};
use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::testkit::endpoint;
use marketprism_adapter_sdk::{
    Adapter, DataType, Feed, Heartbeat, Instrument, MarketType, Plan, ResyncAction,
};
use std::collections::BTreeSet;

fn many(count: usize) -> Plan {
    let derivatives = without_options("okx_derivatives", &[]);
    let one = open(&without_options("okx_derivatives", &["BTC-USDT"])).instruments[0].clone();
    let swap = |number: usize| {
        let (symbol, venue_symbol) = (format!("A{number}-USDT"), format!("A{number}-USDT-SWAP"));
        Instrument { symbol, venue_symbol, ..one.clone() }
    };
    Okx::load(derivatives, (0..count).map(swap).collect()).unwrap().plan().unwrap()
}

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

#[test]
fn data_types_go_to_the_instruments_that_have_them() {
    let symbols = ["BTC-USDT", "BTC-USD", "BTC-USDT-260327", "BTC-USD-251226-100000-C"];
    let mut feed = without_options("okx_derivatives", &symbols);
    feed.market_types = vec![MarketType::Perpetual, MarketType::Futures, MarketType::Options];
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
