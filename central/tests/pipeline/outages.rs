//! Crashes of central, outages of ClickHouse and the broker, one alone and in a cluster with three replicas.

use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use marketprism_schema::{Body, Event, EventId, Fingerprint, StreamAudit, StreamId};
use marketprism_tests::link::Link;
use marketprism_tests::wait::{eventually, until};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::auditing::{NUMBERED, QUICK, audit, publish_audit, window_before};
use crate::events::{Publisher, now_us, one_of_each, publish, trade};
use crate::ingest::{all_acknowledged, events_consumer};
use crate::stack::Stack;

/// SIGKILL in the middle of inserts, for ten times the ack wait, while events are published.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_clickhouse_loses_nothing() {
    const TRADES: u64 = 12_000;
    const ACK_WAIT: Duration = Duration::from_secs(2);
    let settings = "[batch]\ntrades = 500\nmax_age_ms = 100\n";
    let Some((mut stack, config)) = Stack::laid_out(settings).await else { return };
    let ack_wait = ("MARKETPRISM_CONSUMERS__ACK_WAIT_MS", ACK_WAIT.as_millis().to_string().into());
    let _central = stack.run_with(&config, &[ack_wait]);
    stack.is_ready().await;
    let (base, jetstream) = (now_us(), stack.jetstream().await);
    publish(&jetstream, (0..TRADES / 3).map(|n| trade(n, base))).await;
    stack.has_trades(1).await;
    let consumer = events_consumer(&stack, "MARKET_DATA", "central-trades").await.unwrap();
    assert_eq!(consumer.config.ack_wait, ACK_WAIT);
    stack.engine.kill();
    let begin = Instant::now();
    publish(&jetstream, (TRADES / 3..TRADES).map(|n| trade(n, base))).await;
    let reasons = stack.is_unready_for("clickhouse").await;
    assert!(reasons.contains("reasons"), "{reasons}");
    let outage = 10 * ACK_WAIT;
    until("the end of the outage", 2 * outage, || async { (begin.elapsed() > outage).then_some(()) }).await;
    assert_eq!(stack.get("/ready").map(|(status, _)| status), Some(503), "central must still say so");
    let asked = |stack: &Stack| stack.command("health", &config, &["--ready"]).status.code();
    assert_eq!(asked(&stack), Some(1));
    stack.engine.restart().await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    stack.holds_once("trades", TRADES).await;
    stack.is_ready().await;
    assert_eq!(asked(&stack), Some(0));
}

/// The type of a column of trades is changed by hand, so that no row of them is accepted, with more messages than its batches hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_takes_no_rows_holds_up_no_other() {
    const TRADES: u64 = 500;
    let limits = QUICK.replace("[batch]", "[batch]\ntrades = 10\nmax_in_flight = 2\nmax_age_others_ms = 100");
    let Some((stack, _central, jetstream)) = Stack::ready(&limits).await else { return };
    stack.execute("ALTER TABLE marketprism_hot.trades MODIFY COLUMN region UInt64").await;
    let base = now_us();
    publish(&jetstream, (0..TRADES).map(|n| trade(n, base))).await;
    eventually("the trades to be delivered", || async {
        let info = events_consumer(&stack, "MARKET_DATA", "central-trades").await?;
        (info.delivered.stream_sequence == TRADES).then_some(())
    })
    .await;
    let others = |event: &Event<'_>| !matches!(event.body, Body::Trade(_));
    publish(&jetstream, one_of_each(base).into_iter().filter(others)).await;
    for table in ["funding_rates", "open_interests", "liquidations", "volatility_indices"] {
        stack.holds_once(table, 1).await;
    }
    eventually("the other tables' messages to be acknowledged", || async {
        let info = events_consumer(&stack, "MARKET_DATA", "central-funding-rates").await?;
        (info.num_ack_pending == 0 && info.ack_floor.stream_sequence > TRADES).then_some(())
    })
    .await;
    let trades = events_consumer(&stack, "MARKET_DATA", "central-trades").await.unwrap();
    assert_eq!(trades.ack_floor.stream_sequence, 0, "none of them is stored");
    a_window_of_another_table_is_judged(&stack, &jetstream).await;
    stack.execute("ALTER TABLE marketprism_hot.trades MODIFY COLUMN region LowCardinality(String)").await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    stack.holds_once("trades", TRADES).await;
}

/// The server skips columns that a table lacks, unless a setting forbids it.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_lost_a_column_takes_no_row_without_it() {
    const TRADES: u64 = 100;
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    stack.execute("ALTER TABLE marketprism_hot.trades DROP COLUMN region").await;
    let base = now_us();
    publish(&jetstream, (0..TRADES).map(|n| trade(n, base))).await;
    eventually("the rows to be refused", || async {
        stack.get("/health")?.1.contains("Unknown column with name region").then_some(())
    })
    .await;
    stack.execute("ALTER TABLE marketprism_hot.trades ADD COLUMN region LowCardinality(String)").await;
    stack.holds_once("trades", TRADES).await;
    let empty = stack.hot().query_raw("SELECT count() FROM marketprism_hot.trades WHERE region = ''");
    assert_eq!(empty.fetch_one::<u64>().await.unwrap(), 0);
}

/// The edge published a liquidation that hot does not have.
async fn a_window_of_another_table_is_judged(stack: &Stack, jetstream: &Context) {
    let window = window_before(5);
    let stream = StreamId::parse("liquidation.sim_spot.spot.BTC-USDT").unwrap();
    let missing: Fingerprint = [EventId(7)].into_iter().collect();
    let stream_audit = StreamAudit { stored: missing, ..StreamAudit::new(&stream, NUMBERED) };
    publish_audit(jetstream, &audit("e1", window, vec![stream_audit])).await;
    eventually("a mismatch", async || {
        let sql = "SELECT toString(state), reason FROM marketprism_hot.verdicts FINAL WHERE data_type = 'liquidation' AND edge = 'e1'";
        let found = stack.hot().query_raw(sql).fetch_all::<(String, String)>().await.unwrap();
        // Later windows, of which no audit comes, are unverifiable.
        if found.iter().any(|(state, _)| state == "mismatch") { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// Leftovers of a kill between the two writes of an insert: its token in the deduplication log, and no part. The answers to the first
/// tries are held back, so central cannot know.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_its_rows_loses_nothing() {
    const TRADES: u64 = 500;
    let Some((mut stack, config)) = Stack::laid_out("[batch]\ntrades = 500\nmax_age_ms = 1000\n").await
    else {
        return;
    };
    let link = Link::to(stack.engine.port()).await;
    Stack::lead_through(&config, &link);
    let central = stack.run(&config);
    stack.is_ready().await;
    // A merge would leave parts that come back when the merged one is deleted.
    stack.execute("SYSTEM STOP MERGES marketprism_hot.trades").await;
    link.shut_answers();
    publish(&stack.jetstream().await, (0..TRADES).map(|n| trade(n, now_us()))).await;
    stack.has_trades(TRADES).await;
    let parts = "SELECT path FROM system.parts WHERE database = 'marketprism_hot' AND table = 'trades'";
    let parts: Vec<String> = stack.hot().query_raw(parts).fetch_all().await.unwrap();
    stack.engine.kill();
    for part in &parts {
        std::fs::remove_dir_all(part).unwrap();
    }
    stack.engine.restart().await;
    assert_eq!(stack.trades().await, Some(0), "the parts must be lost");
    link.cut();
    stack.holds_once("trades", TRADES).await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    let log = central.output();
    assert!(log.contains("clickhouse does not hold rows that it accepted"), "the engine did not lie: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_restart_and_deleted_consumer_lose_nothing() {
    const TRADES: u64 = 12_000;
    let Some((mut stack, _central, jetstream)) =
        Stack::ready("[batch]\ntrades = 500\nmax_age_ms = 100\n").await
    else {
        return;
    };
    let base = now_us();
    publish(&jetstream, (0..TRADES / 3).map(|n| trade(n, base))).await;
    stack.broker.kill();
    stack.is_unready_for("").await;
    stack.broker.restart().await;
    publish(&jetstream, (TRADES / 3..2 * TRADES / 3).map(|n| trade(n, base))).await;
    stack.holds_once("trades", 2 * TRADES / 3).await;

    let stream = jetstream.get_stream("MARKET_DATA").await.unwrap();
    stream.delete_consumer("central-trades").await.unwrap();
    publish(&jetstream, (2 * TRADES / 3..TRADES).map(|n| trade(n, base))).await;
    stack.holds_once("trades", TRADES).await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    stack.holds_once("trades", TRADES).await;
}

/// SIGKILL twelve times at seeded points, by rows or by time since the start, each time with another batch size.
#[tokio::test(flavor = "multi_thread")]
async fn killing_central_loses_and_doubles_nothing() {
    const TRADES: u64 = 48_000;
    const SEED: u64 = 20_261_122;
    let Some(stack) = Stack::start().await else { return };
    let mut random = StdRng::seed_from_u64(SEED);
    let base = now_us();
    stack.init(&stack.configure(""), &[], 0);
    let jetstream = stack.jetstream().await;
    let publisher = tokio::spawn(publish_steadily(jetstream, TRADES, base));
    for round in 0..12 {
        let rows = random.random_range(50..1_500);
        let config = stack.configure(&format!("[batch]\ntrades = {rows}\nmax_age_ms = 100\n"));
        let (before, _) = stack.counts("trades").await.unwrap();
        let mut central = stack.run(&config);
        let more = random.random_range(1..4_000);
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

/// 3,000 trades per second.
async fn publish_steadily(jetstream: Context, trades: u64, base_us: i64) {
    const STEP: u64 = 300;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut start = 0;
    while start < trades {
        ticks.tick().await;
        let end = trades.min(start + STEP);
        publish(&jetstream, (start..end).map(move |n| trade(n, base_us))).await;
        start = end;
    }
}

/// Numbered trades are published while the leaders of stream and consumer get SIGKILL one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_loses_nothing() {
    let Some(mut stack) = Stack::with_nodes(3).await else { return };
    let _central = stack.central("[streams]\nreplicas = 3\n[batch]\ntrades = 1000\nmax_age_ms = 100\n").await;
    let jetstream = stack.jetstream().await;
    for name in ["MARKET_DATA", "KV_MARKETPRISM_LEASES", "KV_MARKETPRISM_CONFIRMED"] {
        let copies = eventually(name, || async { jetstream.get_stream(name).await.ok() }).await;
        assert_eq!(copies.cached_info().config.num_replicas, 3, "{name}");
    }
    let publisher = Publisher::start(jetstream.clone(), 50);
    for (leads_stream, rows) in [(true, 250), (false, 1_000)] {
        stack.has_trades(rows).await;
        let leader = eventually("the leader's name", || async {
            let stream = jetstream.get_stream("MARKET_DATA").await.ok()?;
            if leads_stream {
                return stream.cached_info().cluster.clone()?.leader;
            }
            events_consumer(&stack, "MARKET_DATA", "central-trades").await?.cluster?.leader
        })
        .await;
        let killed = stack.broker.kill_named(&leader);
        eventually("another leader", || async {
            let stream = jetstream.get_stream("MARKET_DATA").await.ok()?;
            stream.cached_info().cluster.clone()?.leader.filter(|name| *name != leader)
        })
        .await;
        stack.broker.restart_node(killed).await;
    }
    let trades = publisher.end().await;
    all_acknowledged(&stack, "MARKET_DATA", trades).await;
    stack.holds_once("trades", trades).await;
}
