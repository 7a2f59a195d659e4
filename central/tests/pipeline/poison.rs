//! Messages that cannot become rows.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use marketprism_schema::Body;

use marketprism_tests::wait::eventually;

use crate::events::{message, now_us, publish, trade};
use crate::ingest::all_acknowledged;
use crate::stack::Stack;

/// Six invalid messages among valid trades, of which a constraint of the table refuses three.
#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_to_the_dead_letters() {
    const TRADES: u64 = 2_000;
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure("");
    assert_eq!(stack.init(&config, &[]).status.code(), Some(0));
    let refused =
        "ALTER TABLE marketprism_hot.trades ADD CONSTRAINT known CHECK trade_id NOT IN ('5', '6', '1700')";
    stack.execute(refused).await;

    let jetstream = stack.jetstream().await;
    let base = now_us();
    publish(&jetstream, (0..TRADES / 2).map(|n| trade(n, base))).await;
    let (subject, good) = message(&trade(90_000, base));
    let ancient = message(&trade(90_001, -5_000_000)).1;
    let Body::Trade(_) = trade(1, base).body else { panic!("not a trade") };
    for (subject, content_type, payload) in [
        (subject.as_str(), None, b"{\"data_type\":\"trade\"".to_vec()),
        (subject.as_str(), None, Vec::new()),
        (subject.as_str(), Some("application/x-unknown"), good.clone()),
        ("trade.sim_spot.spot.ETH-USDT", Some("application/json"), good.clone()),
        ("orderbook.sim_spot.spot.BTC-USDT", Some("application/json"), good.clone()),
        (subject.as_str(), None, ancient),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert("Content-Type", content_type);
        }
        let sent = jetstream.publish_with_headers(subject.to_owned(), headers, payload.into());
        sent.await.unwrap().await.unwrap();
    }
    publish(&jetstream, (TRADES / 2..TRADES).map(|n| trade(n, base))).await;

    let _central = stack.run(&config);
    all_acknowledged(&stack, "MARKET_DATA", TRADES + 5).await;
    all_acknowledged(&stack, "ORDERBOOK_SNAP", 1).await;
    stack.holds_once("trades", TRADES - 3).await;
    let reasons = eventually("nine dead letters", || async {
        let sql = "SELECT reason FROM marketprism_hot.dead_letters";
        let reasons: Vec<String> = stack.hot().query_raw(sql).fetch_all().await.unwrap();
        (reasons.len() == 9).then_some(reasons)
    })
    .await;
    let count = |part: &str| reasons.iter().filter(|reason| reason.contains(part)).count();
    let counts: BTreeMap<&str, usize> = ["payload:", "content type", "subject", "timestamp", "Code: 469"]
        .map(|part| (part, count(part)))
        .into();
    let expected =
        [("payload:", 2), ("content type", 1), ("subject", 2), ("timestamp", 1), ("Code: 469", 3)].into();
    assert_eq!(counts, expected, "{reasons:#?}");

    let kept =
        "SELECT payload FROM marketprism_hot.dead_letters WHERE content_type = 'application/x-unknown'";
    assert_eq!(stack.hot().query_raw(kept).fetch_one::<String>().await.unwrap().into_bytes(), good);
    let (_, metrics) = stack.get("/metrics").unwrap();
    assert!(metrics.contains("hot_storage_messages_failed_total 9"), "{metrics}");
}
