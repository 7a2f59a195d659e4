//! Streams in partitions, which several centrals take at the same time.

use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use futures_util::TryStreamExt as _;
use marketprism_tests::broker::free_port;
use marketprism_tests::wait::eventually;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::copies::{confirmed, never_pauses_for_the_age_of_a_batch};
use crate::events::{Publisher, now_us, publish, trade_in};
use crate::ingest::events_consumer;
use crate::losses::losses;
use crate::partitions::inserts;
use crate::sharing::Pair;
use crate::stack::{Stack, contains_all};

const SETTINGS: &str = "[batch]\ntrades = 500\nmax_age_ms = 200\n";
const HALVES: &str = "[streams]\npartitions = 2\n[batch]\ntrades = 500\nmax_age_ms = 200\n";
const MARKETS: u64 = 16;

/// Waits until both centrals insert rows of the stream.
async fn both_store(pair: &Pair) {
    let before = [inserts(pair, 0), inserts(pair, 1)];
    eventually("inserts of both centrals", || async {
        let now = [inserts(pair, 0), inserts(pair, 1)];
        if now.iter().zip(before).all(|(now, before)| *now > before + 5) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
}

/// Central that holds the lease of a partition of MARKET_DATA.
async fn owner_of(pair: &Pair, jetstream: &Context, lease: &str) -> usize {
    let leases = jetstream.get_key_value("MARKETPRISM_LEASES").await.unwrap();
    let claim: serde_json::Value =
        serde_json::from_slice(&leases.get(lease).await.unwrap().unwrap()).unwrap();
    let holder = claim["holder"].as_str().unwrap();
    (0..2).find(|i| holder.ends_with(&format!(":{}", pair.port(*i)))).unwrap()
}

/// Everything that was published is stored, confirmed and acknowledged by the consumers of both partitions.
async fn all_is_stored(stack: &Stack, trades: u64) {
    stack.holds_once("trades", trades).await;
    confirmed(stack, trades).await;
    for name in ["central-trades-0-of-2", "central-trades-1-of-2"] {
        eventually(&format!("{name} to have acknowledged all"), || async {
            let info = events_consumer(stack, "MARKET_DATA", name).await?;
            let open = (info.num_pending, info.num_ack_pending, info.ack_floor.stream_sequence);
            (open == (0, 0, trades)).then_some(())
        })
        .await;
    }
    assert_eq!((losses(stack).await, stack.copies().await), (vec![], Some(0)));
}

/// The consumer of each part delivers the messages of all: of what it may leave unacknowledged one in eight is for the part's batches.
#[tokio::test(flavor = "multi_thread")]
async fn batches_of_a_part_are_inserted_before_their_age_while_a_backlog_waits() {
    const TRADES: u64 = 4_000;
    let settings = "[streams]\npartitions = 8\n[streams.market_data]\nmax_ack_pending = 500\n[batch]\nmax_age_ms = 60000\n";
    let Some((stack, config)) = Stack::laid_out_for_counts(settings).await else { return };
    let base = now_us();
    publish(&stack.jetstream().await, (0..TRADES).map(|n| trade_in(MARKETS, n, base))).await;
    let _central = stack.run(&config);
    // A part's last batch is open, with less than the messages of a turn and of what a batch may span.
    stack.has_trades(TRADES - 400).await;
    never_pauses_for_the_age_of_a_batch(&stack).await;
}

/// Both centrals store rows all the time; first the owner of the first partition gets SIGKILL, then that of the other one.
#[tokio::test(flavor = "multi_thread")]
async fn two_centrals_take_one_stream_and_each_takes_over_from_the_other() {
    let Some(stack) = Stack::start().await else { return };
    let mut pair = Pair::of_partitions(&stack, SETTINGS).await;
    let jetstream = stack.jetstream().await;
    let publisher = Publisher::of_markets(jetstream.clone(), 40, MARKETS);
    for lease in ["ingest-MARKET_DATA", "ingest-MARKET_DATA-1"] {
        both_store(&pair).await;
        let killed = owner_of(&pair, &jetstream, lease).await;
        pair.kill(killed);
        let other = 1 - killed;
        eventually("the other central to have both partitions", || async {
            stack.trades().await?;
            let both = "marketprism_central_streams_held{stream=\"MARKET_DATA\"} 2";
            pair.metrics(other)?.contains(both).then_some(())
        })
        .await;
        let taken_over = stack.has_trades(0).await;
        stack.has_trades(taken_over + 400).await;
        pair.restart(&stack, killed);
        pair.has_halves().await;
    }
    both_store(&pair).await;
    all_is_stored(&stack, publisher.end().await).await;
}

/// Hot goes back to a copy while both centrals store.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_hot_lost_of_both_partitions_is_taken_in_again_once() {
    const OLD: u64 = 3_000;
    const ALL: u64 = 9_000;
    const MORE: u64 = 12_000;
    let Some(mut stack) = Stack::start().await else { return };
    let pair = Pair::of_partitions(&stack, SETTINGS).await;
    let (base, jetstream) = (now_us(), stack.jetstream().await);
    let trades = |from, to| (from..to).map(move |n| trade_in(MARKETS, n, base));
    publish(&jetstream, trades(0, OLD)).await;
    confirmed(&stack, OLD).await;
    stack.engine.stop().await;
    stack.engine.copy_data();
    stack.engine.restart().await;
    publish(&jetstream, trades(OLD, ALL)).await;
    confirmed(&stack, ALL).await;
    stack.engine.stop().await;
    stack.engine.put_back();
    stack.engine.restart().await;
    publish(&jetstream, trades(ALL, MORE)).await;
    all_is_stored(&stack, MORE).await;
    let logs = [pair.log(0), pair.log(1)];
    assert!(logs.iter().any(|log| log.contains("messages that hot lost are taken in again")), "{logs:?}");
}

/// Holds a lease as a central would.
fn hold(jetstream: Context, lease: &'static str) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = interval(Duration::from_millis(500));
        loop {
            ticks.tick().await;
            let claim = json!({ "holder": "test", "term": "1", "since_ns": 0 }).to_string();
            if let Ok(leases) = jetstream.get_key_value("MARKETPRISM_LEASES").await {
                drop(leases.put(lease, claim.into()).await);
            }
        }
    })
}

/// As in an upgrade that starts the new central, with a shorter time, beside the old one: two would work under one lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_taken_over_after_the_time_of_its_holder_where_that_is_longer() {
    const TIME: Duration = Duration::from_secs(12);
    let Some((stack, config)) = Stack::laid_out("").await else { return };
    let jetstream = stack.jetstream().await;
    let bucket =
        async_nats::jetstream::kv::Config { bucket: "MARKETPRISM_LEASES".to_owned(), ..Default::default() };
    let leases = jetstream.create_or_update_key_value(bucket).await.unwrap();
    let time_ms = u64::try_from(TIME.as_millis()).unwrap();
    let claim = json!({ "holder": "earlier", "term": "1", "since_ns": 0, "time_ms": time_ms }).to_string();
    leases.put("ledger", claim.into()).await.unwrap();
    let started = Instant::now();
    let central = stack.run(&config);
    eventually("central takes the lease over", async || {
        let claim = leases.get("ledger").await.ok()??;
        (!String::from_utf8_lossy(&claim).contains("earlier")).then_some(())
    })
    .await;
    assert!(started.elapsed() >= TIME, "taken over after {:?}", started.elapsed());
    assert!(central.output().contains("lease.time_ms is 4000 here and 12000 there"), "{}", central.output());
}

/// The first partition's consumer delivered everything; what the broker discarded before the other's did is lost, and only that.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_discarded_before_its_own_partition_took_it_is_named() {
    const TRADES: u64 = 2_000;
    const GONE: u64 = 1_500;
    let Some((stack, config)) = Stack::laid_out(HALVES).await else { return };
    let (base, jetstream) = (now_us(), stack.jetstream().await);
    let buckets =
        async_nats::jetstream::kv::Config { bucket: "MARKETPRISM_LEASES".to_owned(), ..Default::default() };
    jetstream.create_or_update_key_value(buckets).await.unwrap();
    let other = hold(jetstream.clone(), "ingest-MARKET_DATA-1");
    eventually("the lease", || async {
        let leases = jetstream.get_key_value("MARKETPRISM_LEASES").await.ok()?;
        leases.get("ingest-MARKET_DATA-1").await.ok()?
    })
    .await;
    let central = stack.run(&config);
    publish(&jetstream, (0..TRADES).map(|n| trade_in(MARKETS, n, base))).await;
    eventually("the first partition to take all", || async {
        let info = events_consumer(&stack, "MARKET_DATA", "central-trades-0-of-2").await?;
        (info.ack_floor.stream_sequence == TRADES).then_some(())
    })
    .await;
    let of_first = stack.trades().await.unwrap();
    assert!(of_first > TRADES / 4 && of_first < TRADES * 3 / 4, "{of_first} of {TRADES}");
    let stored = |upto: u64| format!("SELECT count() FROM marketprism_hot.trades WHERE stream_seq <= {upto}");
    let kept = stack.number(&stored(GONE)).await.unwrap();
    jetstream.get_stream("MARKET_DATA").await.unwrap().purge().sequence(GONE + 1).await.unwrap();
    other.abort();
    stack.holds_once("trades", TRADES - (GONE - kept)).await;
    confirmed(&stack, TRADES).await;
    let named = losses(&stack).await;
    assert_eq!(named.iter().map(|loss| loss.2).sum::<u64>(), GONE - kept, "{named:?}");
    for (from, to, ..) in named {
        let sql =
            format!("SELECT count() FROM marketprism_hot.trades WHERE stream_seq BETWEEN {from} AND {to}");
        assert_eq!(stack.number(&sql).await, Some(0));
    }
    drop(central);
}

/// A central with another number takes nothing; `init --apply` takes the partitions over from the one that runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_partitions_changes_with_init_only() {
    let Some(stack) = Stack::start().await else { return };
    let ports = [free_port(), free_port()];
    let one = stack.configure_as("central-one", ports[0], SETTINGS);
    let two = stack.configure_as("central-two", ports[1], HALVES);
    let jetstream = stack.jetstream().await;
    let _whole = stack.run(&one);
    eventually("the streams", || async { jetstream.get_stream("MARKET_DATA").await.ok() }).await;
    let publisher = Publisher::of_markets(jetstream.clone(), 40, MARKETS);
    stack.has_trades(200).await;
    let _halves = stack.run(&two);
    let is_refused = async |port| {
        eventually("the refusal", || async {
            let (status, reasons) = Stack::get_at(port, "/ready").ok_or("no answer")?;
            let is_reported = reasons.contains("run `init --apply`");
            if status == 503 && is_reported { Ok(reasons) } else { Err(reasons) }
        })
        .await
    };
    contains_all(&is_refused(ports[1]).await, &["taken in 1 partition(s), configured are 2"]);
    let applied = stack.init(&two, &["--apply"], 0);
    contains_all(&applied, &["stream MARKET_DATA: changed", "partitions: wanted 2, found 1"]);
    let parsed: Vec<&str> =
        applied.lines().filter(|line| line.starts_with("consumer central-trades-")).collect();
    assert_eq!(parsed.len(), 2, "{applied}");
    contains_all(&is_refused(ports[0]).await, &["taken in 2 partition(s), configured are 1"]);
    let before = stack.has_trades(0).await;
    stack.has_trades(before + 200).await;
    stack.init(&one, &["--apply"], 0);
    // Those of an earlier number would deliver again all since then.
    let stream = jetstream.get_stream("MARKET_DATA").await.unwrap();
    let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
    assert!(names.len() == 7 && names.iter().all(|name| !name.contains("-of-")), "{names:?}");
    let before = stack.has_trades(0).await;
    stack.has_trades(before + 200).await;
    let trades = publisher.end().await;
    stack.holds_once("trades", trades).await;
    confirmed(&stack, trades).await;
    assert_eq!((losses(&stack).await, stack.copies().await), (vec![], Some(0)));
}
