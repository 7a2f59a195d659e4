//! Network partitions between one central and the broker or ClickHouse.

use std::time::{Duration, Instant};

use marketprism_tests::wait::eventually;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::events::Publisher;
use crate::ingest::all_acknowledged;
use crate::sharing::{Pair, TAKEOVER, has_no_error};
use crate::stack::Stack;

const STREAM: &str = "MARKET_DATA";
/// Trades per 100 ms.
const STEP: u64 = 100;
const SETTINGS: &str = "[batch]\ntrades = 500\nmax_age_ms = 50\n";

async fn more_rows(stack: &Stack, more: u64) {
    let before = stack.has_trades(0).await;
    stack.has_trades(before + more).await;
}

pub fn inserts(pair: &Pair, i: usize) -> u64 {
    let metrics = pair.metrics(i).unwrap();
    let line = metrics.lines().find(|line| line.starts_with("hot_storage_batch_inserts_total ")).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Waits until the other central owns the stream; never do both.
async fn taken_over(stack: &Stack, pair: &Pair, cut_off: usize) {
    eventually("the takeover", || async {
        stack.trades().await?;
        if !pair.holds(1 - cut_off, STREAM) {
            return None;
        }
        assert!(!pair.holds(cut_off, STREAM), "both hold the stream");
        Some(())
    })
    .await;
}

/// The owner's link to the broker is shut while trades flow; in the second round its link to ClickHouse too, which opens shortly before
/// the lease ends: a late insert must not arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_central_cut_off_from_the_broker_is_replaced() {
    const SEED: u64 = 20_261_124;
    let Some(stack) = Stack::start().await else { return };
    let pair = Pair::start_linked(&stack, SETTINGS).await;
    let mut random = StdRng::seed_from_u64(SEED);
    let jetstream = stack.jetstream().await;
    let publisher = Publisher::start(jetstream, STEP);
    for is_late in [false, true] {
        more_rows(&stack, 500).await;
        let cut_off = pair.holder_of(STREAM).unwrap();
        let [to_broker, to_clickhouse] = pair.links(cut_off);
        let since = Instant::now();
        to_broker.shut();
        if is_late {
            to_clickhouse.shut();
            let late = Duration::from_millis(random.random_range(2_400..3_300));
            eventually("the lease's last seconds", || async { (since.elapsed() >= late).then_some(()) })
                .await;
            to_clickhouse.open();
        }
        taken_over(&stack, &pair, cut_off).await;
        let inserted = inserts(&pair, cut_off);
        more_rows(&stack, 1).await;
        let took = since.elapsed();
        eprintln!("the other central stored the first trade {} ms after the cut", took.as_millis());
        assert!(took < TAKEOVER, "{took:?}");

        more_rows(&stack, 2_000).await;
        assert_eq!(inserts(&pair, cut_off), inserted, "one without the lease has inserted");
        to_broker.open();
        pair.is_shared().await;
        let log = pair.log(cut_off);
        assert!(log.contains("could not be renewed in time"), "it did not notice: {log}");
        has_no_error(&log);
    }
    let trades = publisher.end().await;
    all_acknowledged(&stack, STREAM, trades).await;
    stack.holds_once("trades", trades).await;
    assert_eq!(stack.copies().await, Some(0), "a message that is delivered again is no copy");
}

/// Its link to ClickHouse is shut for longer than a lease and the ack wait; what it had sent arrives late.
#[tokio::test(flavor = "multi_thread")]
async fn a_central_cut_off_from_clickhouse_holds_what_it_took() {
    const CUT: Duration = Duration::from_secs(8);
    let Some(stack) = Stack::start().await else { return };
    let pair = Pair::start_linked(&stack, SETTINGS).await;
    let jetstream = stack.jetstream().await;
    let publisher = Publisher::start(jetstream, STEP);
    more_rows(&stack, 500).await;
    let cut_off = pair.holder_of(STREAM).unwrap();
    let [_, to_clickhouse] = pair.links(cut_off);
    let since = Instant::now();
    to_clickhouse.shut();
    eventually("it to say so", || async {
        stack.trades().await?;
        pair.is_unready_for(cut_off, "clickhouse").then_some(())
    })
    .await;
    eventually("the end of the cut", || async {
        stack.trades().await?;
        (since.elapsed() >= CUT).then_some(())
    })
    .await;
    to_clickhouse.open();
    more_rows(&stack, 500).await;
    pair.is_shared().await;
    let trades = publisher.end().await;
    all_acknowledged(&stack, STREAM, trades).await;
    stack.holds_once("trades", trades).await;
    assert_eq!(stack.copies().await, Some(0), "a message that is delivered again is no copy");
}
