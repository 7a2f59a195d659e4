//! Crashes of central.

use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use marketprism_tests::wait::eventually;

use crate::events::{now_us, publish, trade};
use crate::ingest::all_acknowledged;
use crate::stack::Stack;

/// SIGKILL twenty times at seeded points, by rows or by time since the start, each time with another batch size.
#[tokio::test(flavor = "multi_thread")]
async fn killing_central_loses_and_doubles_nothing() {
    const TRADES: u64 = 200_000;
    const SEED: u64 = 20_261_122;
    let Some(stack) = Stack::start().await else { return };
    let mut random = StdRng::seed_from_u64(SEED);
    let base = now_us();
    assert_eq!(stack.init(&stack.configure(""), &[]).status.code(), Some(0));
    let jetstream = stack.jetstream().await;
    let publisher = tokio::spawn(publish_steadily(jetstream, TRADES, base));
    for round in 0..20 {
        let rows = random.random_range(50..1_500);
        let config = stack.configure(&format!("[batch]\ntrades = {rows}\nmax_age_ms = 100\n"));
        let (before, _) = stack.counts("trades").await.unwrap();
        let mut central = stack.run(&config);
        let more = random.random_range(1..6_000);
        let time = Duration::from_millis(random.random_range(100..2_500));
        let started = Instant::now();
        eventually("some rows more, or some time", || async {
            let (count, distinct) = stack.counts("trades").await?;
            assert_eq!(count, distinct, "round {round}: doubled");
            let is_due = if round % 2 == 0 { count >= before + more } else { started.elapsed() >= time };
            (is_due || count == TRADES).then_some(())
        })
        .await;
        central.kill();
    }
    let _central = stack.run(&stack.configure("[batch]\nmax_age_ms = 100\n"));
    publisher.await.unwrap();
    stack.holds_once("trades", TRADES).await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    stack.holds_once("trades", TRADES).await;
    assert_eq!(stack.copies().await, Some(0), "a message that is delivered again is no copy");
}

/// 8,000 trades per second.
async fn publish_steadily(jetstream: Context, trades: u64, base_us: i64) {
    const STEP: u64 = 800;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut start = 0;
    while start < trades {
        ticks.tick().await;
        let end = trades.min(start + STEP);
        publish(&jetstream, (start..end).map(move |n| trade(n, base_us))).await;
        start = end;
    }
}
