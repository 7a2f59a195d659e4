//! What central depends on goes away.

use std::time::{Duration, Instant};

use crate::events::{now_us, publish, trade};
use crate::ingest::all_acknowledged;
use crate::stack::{Stack, until, until_within};

/// Goal: while ClickHouse is away for a minute central holds, says so, and loses and doubles nothing; health and readiness tell it.
/// Method: kill it with -9 in the middle of inserts for 60 s, twenty times the ack wait, publish on, start it again.
#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_away_loses_nothing() {
    const TRADES: u64 = 30_000;
    let Some(mut stack) = Stack::start() else { return };
    let config = stack.configure("[batch]\ntrades = 500\nmax_age_ms = 100\n");
    let central = stack.run(&config);
    until("central to be ready", || async { stack.get("/ready").filter(|(status, _)| *status == 200) }).await;
    let base = now_us();
    let jetstream = stack.jetstream().await;
    publish(&jetstream, (0..TRADES / 3).map(|n| trade(n, base))).await;
    until("the first rows", || async { stack.counts("trades").await.filter(|(rows, _)| *rows > 0) }).await;
    stack.kill_clickhouse();
    let away = Instant::now();
    publish(&jetstream, (TRADES / 3..TRADES).map(|n| trade(n, base))).await;
    let (_, reasons) = until("readiness to tell", || async {
        stack.get("/ready").filter(|(status, reasons)| *status == 503 && reasons.contains("clickhouse"))
    })
    .await;
    assert!(reasons.contains("reasons"), "{reasons}");
    let outage = Duration::from_secs(60);
    until_within(2 * outage, "the end of the outage", || async { (away.elapsed() > outage).then_some(()) })
        .await;
    assert_eq!(stack.get("/ready").map(|(status, _)| status), Some(503), "central must still say so");
    stack.start_clickhouse();
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    stack.holds_once("trades", TRADES).await;
    until("central to be ready again", || async { stack.get("/ready").filter(|(s, _)| *s == 200) }).await;
    drop(central);
}

/// Goal: a broker that is killed and comes back, and a consumer that somebody deletes, neither lose nor double anything.
/// Method: both in turn while an edge publishes.
#[tokio::test(flavor = "multi_thread")]
async fn broker_restart_and_deleted_consumer_lose_nothing() {
    const TRADES: u64 = 30_000;
    let Some(mut stack) = Stack::start() else { return };
    let config = stack.configure("[batch]\ntrades = 500\nmax_age_ms = 100\n");
    let central = stack.run(&config);
    until("central to be ready", || async { stack.get("/ready").filter(|(status, _)| *status == 200) }).await;
    let base = now_us();
    let jetstream = stack.jetstream().await;
    publish(&jetstream, (0..TRADES / 3).map(|n| trade(n, base))).await;
    stack.kill_nats();
    until("readiness to tell", || async { stack.get("/ready").filter(|(status, _)| *status == 503) }).await;
    stack.start_nats();
    publish(&jetstream, (TRADES / 3..2 * TRADES / 3).map(|n| trade(n, base))).await;
    until("two thirds", || async {
        stack.counts("trades").await.filter(|(rows, _)| *rows == 2 * TRADES / 3)
    })
    .await;

    let stream = jetstream.get_stream("MARKET_DATA").await.unwrap();
    stream.delete_consumer("central-market-data").await.unwrap();
    publish(&jetstream, (2 * TRADES / 3..TRADES).map(|n| trade(n, base))).await;
    stack.holds_once("trades", TRADES).await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    stack.holds_once("trades", TRADES).await;
    drop(central);
}
