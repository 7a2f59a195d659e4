use crate::{EXCHANGE, feed_of, many, open, records};
use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_sdk::testkit::{Session, endpoint};
use marketprism_adapter_sdk::{Adapter, DataType, Plan, ResyncAction};
use std::collections::BTreeSet;

#[test]
fn plans_keep_the_venues_limits() {
    let plan = Deribit::load(feed_of(&[], &[]), many(450)).unwrap().plan().unwrap();
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
    assert!(Deribit::load(feed_of(&[], &[]), many(1866)).is_ok(), "28 connections");
    let refusal = Deribit::load(feed_of(&[], &[]), many(1867)).unwrap_err();
    assert_eq!((refusal.field.as_str(), refusal.value.as_str()), ("symbols", "5601 channels"));
}

#[test]
fn a_book_starts_anew_by_its_own_channel() {
    let plan = Deribit::load(feed_of(&[], &[DataType::Orderbook]), many(250)).unwrap().plan().unwrap();
    let last = plan.resyncs.last().unwrap();
    let ResyncAction::Resubscribe(again) = &last.action else { panic!("a request") };
    assert_eq!((last.instrument, again.connection, last.depth_limit), (249, 1, None));
    assert!(
        again.messages[0].contains("public/unsubscribe") && again.messages[1].contains("public/subscribe")
    );
    assert!(again.messages.iter().all(|message| message.contains("[\"book.A249-PERPETUAL.100ms\"]")));
    assert_eq!(plan.connections[1].streams.last().unwrap().resubscribe, again.messages);
}

fn on_open(plan: &Plan) -> String {
    plan.connections.iter().flat_map(|connection| connection.on_open.clone()).collect()
}

#[test]
fn only_what_is_needed_is_subscribed() {
    let plan = |data_type| open(&feed_of(&["BTC-USD", "BTC-USD-261225"], &[data_type])).plan;
    let funding = open(&feed_of(&["BTC-USD"], &[DataType::FundingRate])).plan;
    assert!(on_open(&funding).contains("[\"ticker.BTC-PERPETUAL.100ms\"]"));
    let refused =
        Session::<Deribit>::open(&feed_of(&["BTC-USD-261225"], &[DataType::FundingRate]), &records(EXCHANGE));
    assert!(refused.unwrap_err().contains("BTC-USD-261225"), "a dated future has no funding");
    let interest = plan(DataType::OpenInterest);
    assert!(on_open(&interest).contains("[\"ticker.BTC-PERPETUAL.100ms\",\"ticker.BTC-25DEC26.100ms\"]"));
    let both = open(&feed_of(&["BTC-USD"], &[DataType::FundingRate, DataType::OpenInterest])).plan;
    assert_eq!(on_open(&both).matches("ticker.").count(), 1, "one channel");
    assert_eq!(both.connections[0].streams.len(), 2, "two streams");
    let forced = plan(DataType::Liquidation);
    assert!(forced.connections.is_empty() && forced.resyncs.is_empty());
    assert_eq!(forced.polls.len(), 2);
    let window = forced.polls[0].window.as_ref().unwrap();
    assert_eq!((window.from_ago_ms, window.to_ago_ms), (5_400_000, 3_600_000));
    assert!(forced.polls[0].period_ms < window.from_ago_ms - window.to_ago_ms, "every trade is looked at");
    let volatility = open(&feed_of(&[], &[DataType::VolatilityIndex])).plan;
    assert!(
        on_open(&volatility)
            .contains("deribit_volatility_index.btc_usd\",\"deribit_volatility_index.eth_usd")
    );
    assert!(volatility.polls.is_empty() && volatility.resyncs.is_empty());
    let mut local = feed_of(&["BTC-USD"], &[DataType::Trade, DataType::Liquidation]);
    local.endpoints = vec![endpoint("ws", "ws://127.0.0.1:9000/"), endpoint("rest", "http://127.0.0.1:9000")];
    let plan = open(&local).plan;
    assert_eq!(plan.connections[0].url, "ws://127.0.0.1:9000/ws/api/v2");
    assert!(plan.polls[0].request.url.starts_with("http://127.0.0.1:9000/api/v2/public/get_last_trades"));
}
