//! Outages of ClickHouse and the broker.

use std::time::{Duration, Instant};

use marketprism_tests::wait::{eventually, until};

use crate::events::{now_us, publish, trade};
use crate::ingest::all_acknowledged;
use crate::stack::Stack;

/// SIGKILL in the middle of inserts, for ten times the ack wait, while events are published.
#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_away_loses_nothing() {
    const TRADES: u64 = 30_000;
    let Some(mut stack) = Stack::start().await else { return };
    let config = stack.configure("[batch]\ntrades = 500\nmax_age_ms = 100\n");
    let _central = stack.run(&config);
    stack.is_ready().await;
    let base = now_us();
    let jetstream = stack.jetstream().await;
    publish(&jetstream, (0..TRADES / 3).map(|n| trade(n, base))).await;
    eventually("the first rows", || async { stack.counts("trades").await.filter(|(rows, _)| *rows > 0) })
        .await;
    stack.engine.kill();
    let away = Instant::now();
    publish(&jetstream, (TRADES / 3..TRADES).map(|n| trade(n, base))).await;
    let (_, reasons) = eventually("readiness to tell", || async {
        stack.get("/ready").filter(|(status, reasons)| *status == 503 && reasons.contains("clickhouse"))
    })
    .await;
    assert!(reasons.contains("reasons"), "{reasons}");
    let outage = Duration::from_secs(30);
    until("the end of the outage", 2 * outage, || async { (away.elapsed() > outage).then_some(()) }).await;
    assert_eq!(stack.get("/ready").map(|(status, _)| status), Some(503), "central must still say so");
    stack.engine.restart().await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    stack.holds_once("trades", TRADES).await;
    stack.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_restart_and_deleted_consumer_lose_nothing() {
    const TRADES: u64 = 30_000;
    let Some(mut stack) = Stack::start().await else { return };
    let config = stack.configure("[batch]\ntrades = 500\nmax_age_ms = 100\n");
    let _central = stack.run(&config);
    stack.is_ready().await;
    let base = now_us();
    let jetstream = stack.jetstream().await;
    publish(&jetstream, (0..TRADES / 3).map(|n| trade(n, base))).await;
    stack.broker.kill();
    eventually("readiness to tell", || async { stack.get("/ready").filter(|(status, _)| *status == 503) })
        .await;
    stack.broker.restart().await;
    publish(&jetstream, (TRADES / 3..2 * TRADES / 3).map(|n| trade(n, base))).await;
    eventually("two thirds", || async {
        stack.counts("trades").await.filter(|(rows, _)| *rows == 2 * TRADES / 3)
    })
    .await;

    let stream = jetstream.get_stream("MARKET_DATA").await.unwrap();
    stream.delete_consumer("central-market-data").await.unwrap();
    publish(&jetstream, (2 * TRADES / 3..TRADES).map(|n| trade(n, base))).await;
    stack.holds_once("trades", TRADES).await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    stack.holds_once("trades", TRADES).await;
}
