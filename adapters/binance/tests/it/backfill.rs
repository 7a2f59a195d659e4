use crate::{feed, open};
use marketprism_adapter_sdk::testkit::OwnedFrame;
use marketprism_adapter_sdk::{Adapter, Payload, Trade, TradeRange};

fn trades(exchange: &str, frames: impl Fn(u32) -> [OwnedFrame; 2]) -> Vec<Trade> {
    let mut session = open(&feed(exchange, &["BTC-USDT"]));
    let plan = &session.plan;
    let first = plan.connections.len() + plan.polls.len() + plan.resyncs.len();
    let normalized = session.normalize(&frames(first as u32), 16);
    let trade = |event: marketprism_adapter_sdk::Event| match event.payload {
        Payload::Trade(trade) => trade,
        other => panic!("{other:?}"),
    };
    normalized.events.into_iter().map(trade).collect()
}

#[test]
fn a_past_trade_is_that_of_the_stream() {
    let live = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":12345,"p":"16500.01000000","q":"0.00100000","T":1672515782135,"m":true,"M":true}}"#;
    let past = r#"[{"id":12345,"price":"16500.01000000","qty":"0.00100000","quoteQty":"16.50001000","time":1672515782135,"isBuyerMaker":true,"isBestMatch":true}]"#;
    let spot = trades("binance_spot", |source| [OwnedFrame::new(live, 0), OwnedFrame::new(past, source)]);
    assert_eq!((spot.len(), &spot[0]), (2, &spot[1]));
    let live = r#"{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":123456789000,"a":5933014,"s":"BTCUSDT","p":"92294.50","q":"0.100","nq":"0.100","f":100,"l":105,"T":123456785000,"m":false,"st":1}}"#;
    let past = r#"[{"a":5933014,"p":"92294.50","q":"0.100","nq":"0.100","f":100,"l":105,"T":123456785000,"m":false}]"#;
    let usd_m =
        trades("binance_derivatives", |source| [OwnedFrame::new(live, 0), OwnedFrame::new(past, source)]);
    assert_eq!((usd_m.len(), &usd_m[0]), (2, &usd_m[1]));
}

#[test]
fn past_trades_are_requested_from_an_id_on_at_most_a_thousand_a_page() {
    let asked = |exchange: &str, first, last| {
        let session = open(&feed(exchange, &["BTC-USDT"]));
        let request = session.adapter.backfill(TradeRange { instrument: 0, first, last }).unwrap();
        (request.url, request.charges[0].units)
    };
    let spot = "https://api.binance.com/api/v3/historicalTrades?symbol=BTCUSDT";
    assert_eq!(asked("binance_spot", 7, 9), (format!("{spot}&fromId=7&limit=3"), 25));
    assert_eq!(asked("binance_spot", 0, u64::MAX), (format!("{spot}&fromId=0&limit=1000"), 25));
    let usd_m = "https://fapi.binance.com/fapi/v1/aggTrades?symbol=BTCUSDT";
    assert_eq!(asked("binance_derivatives", 7, 7), (format!("{usd_m}&fromId=7&limit=1"), 20));
    let session = open(&feed("binance_spot", &["BTC-USDT"]));
    let refused = |instrument, first, last| {
        let refusal = session.adapter.backfill(TradeRange { instrument, first, last }).unwrap_err();
        (refusal.field, refusal.value)
    };
    assert_eq!(refused(1, 1, 1), ("instrument".to_owned(), "1".to_owned()));
    assert_eq!(refused(0, 2, 1), ("last".to_owned(), "1".to_owned()));
}
