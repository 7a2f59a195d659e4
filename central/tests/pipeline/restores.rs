//! Servers that are put back to an earlier state or emptied under a running central.

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::DeliverPolicy;
use marketprism_tests::wait::eventually;

use crate::copies::confirmed;
use crate::events::{now_us, publish, trade};
use crate::ingest::{all_acknowledged, consumers_of};
use crate::losses::{losses, losses_are_named};
use crate::packed::publish_packed;
use crate::restores_together::every_window_is_verified;
use crate::stack::{PATIENCE, Stack};
use crate::two_sides::{QUICK, SHORT_STREAMS, TwoSides, minutes_ago};

/// Windows of the other tables, which stay empty, are passed thirty at a time.
const SETTINGS: &str = "window_seconds = 1\ncatch_up_low = 30\n[batch]\ntrades = 500\nmax_age_ms = 50\n";
const OLD: u64 = 1_500;
const ALL: u64 = 4_500;

fn settings() -> String {
    format!("{QUICK}{SETTINGS}")
}

/// Publishes trades, and waits until all are confirmed.
async fn store(stack: &Stack, jetstream: &Context, numbers: std::ops::Range<u64>, base_us: i64) {
    let end = numbers.end;
    publish(jetstream, numbers.map(|n| trade(n, base_us))).await;
    confirmed(stack, end).await;
}

/// Central runs all the time; cold has some of the lost rows, the broker all of them but a message of which the copy has one of two inserts.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_hot_lost_is_taken_in_again_once() {
    let Some(mut sides) = TwoSides::on_two_engines(&settings()).await else { return };
    let (base, jetstream) = (now_us(), sides.stack.jetstream().await);
    let central = sides.replicate();
    let pair = [trade(ALL, base), trade(ALL + 1, base)];
    assert_eq!(publish_packed(&jetstream, &pair, 2, true).await, 1);
    publish(&jetstream, (0..OLD).map(|n| trade(n, base))).await;
    confirmed(&sides.stack, OLD + 1).await;
    sides.cold_holds_once("trades", OLD + 2).await;
    sides.in_hot(&half_of_a_pair()).await;
    sides.stack.engine.stop().await;
    sides.stack.engine.copy_data();
    sides.stack.engine.restart().await;
    publish(&jetstream, (OLD..2 * OLD).map(|n| trade(n, base))).await;
    confirmed(&sides.stack, 2 * OLD + 1).await;
    sides.cold_holds_once("trades", 2 * OLD + 2).await;
    sides.stack.cold_engine().stop().await;
    publish(&jetstream, (2 * OLD..ALL).map(|n| trade(n, base))).await;
    confirmed(&sides.stack, ALL + 1).await;
    jetstream.get_stream("MARKET_DATA").await.unwrap().purge().sequence(2).await.unwrap();

    sides.stack.engine.stop().await;
    sides.stack.engine.put_back();
    sides.stack.cold_engine().restart().await;
    sides.stack.engine.restart().await;
    sides.stack.holds_once("trades", ALL + 2).await;
    sides.cold_holds_once("trades", ALL + 2).await;
    confirmed(&sides.stack, ALL + 1).await;
    all_acknowledged(&sides.stack, "MARKET_DATA", ALL + 1).await;
    assert_eq!(losses(&sides.stack).await, []);
    assert!(central.output().contains("hot lost rows"), "{}", central.output());
    sides.stack.metrics_contain("marketprism_central_hot_put_back_total{stream=\"MARKET_DATA\"} 1").await;
    every_window_is_verified(&sides).await;
    sides.are_the_same("trades").await;
    sides.stack.is_ready().await;
}

/// As of a copy that has only one of two inserts of the message.
fn half_of_a_pair() -> String {
    format!("ALTER TABLE marketprism_hot.trades DELETE WHERE trade_id = '{ALL}' SETTINGS mutations_sync = 2")
}

/// Hot and cold go back together while central is down; the broker has discarded a part of what they lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_after_a_restore_is_in_losses() {
    const GONE: u64 = 2_500;
    let Some((mut stack, config)) = Stack::laid_out(&settings()).await else { return };
    let (base, jetstream) = (now_us(), stack.jetstream().await);
    let mut central = stack.run(&config);
    store(&stack, &jetstream, 0..OLD, base).await;
    stack.engine.stop().await;
    stack.engine.copy_data();
    stack.engine.restart().await;
    store(&stack, &jetstream, OLD..ALL, base).await;
    central.kill();
    stack.engine.stop().await;
    stack.engine.put_back();
    stack.engine.restart().await;
    let stream = jetstream.get_stream("MARKET_DATA").await.unwrap();
    stream.purge().sequence(GONE + 1).await.unwrap();

    let central = stack.run(&config);
    stack.holds_once("trades", ALL - (GONE - OLD)).await;
    let named = losses_are_named(&stack, 1).await;
    let spans: Vec<_> = named.iter().map(|loss| (loss.0, loss.1, loss.2, loss.3.as_str())).collect();
    assert_eq!(spans, [(OLD + 1, GONE, GONE - OLD, "put_back")], "{named:?}");
    confirmed(&stack, ALL).await;
    // An event that comes first in another message would be stored in addition to its row of cold.
    let log = central.output();
    let run = &log[log.rfind("serving health and metrics").unwrap()..];
    let [recovery, pull] =
        ["hot lost rows", "pulling messages stream=\"MARKET_DATA\""].map(|text| run.find(text));
    assert!(recovery.is_some() && recovery < pull, "{run}");
}

/// Every table of hot is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_hot_is_set_up_and_filled_again() {
    let Some((stack, _central, jetstream)) = Stack::ready(&settings()).await else { return };
    let base = now_us();
    store(&stack, &jetstream, 0..OLD, base).await;
    stack.execute("DROP DATABASE marketprism_hot SYNC").await;
    publish(&jetstream, (OLD..2 * OLD).map(|n| trade(n, base))).await;
    stack.holds_once("trades", 2 * OLD).await;
    confirmed(&stack, 2 * OLD).await;
    assert_eq!(losses(&stack).await, []);
    stack.is_ready().await;
}

/// Cold has them, and the log says that they were removed.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_removed_from_hot_stay_deleted_when_it_is_filled_again() {
    const REMOVED: u64 = 600;
    let before = format!("{SHORT_STREAMS}{}", settings());
    let Some(mut sides) = TwoSides::on_one_engine(&before).await else { return };
    sides.trades_of(ALL..ALL + REMOVED, minutes_ago(10), 20_000, minutes_ago(130)).await;
    let mut central = sides.replicate();
    sides.cold_holds_once("trades", REMOVED).await;
    every_window_is_verified(&sides).await;
    central.terminate(PATIENCE).await;
    sides.log_was_written_hours_ago(2).await;
    sides.settings = before.replace("[batch]", "remove_from_hot_after_hours = 1\n[batch]");
    let central = sides.replicate();
    let left = async || match sides.stack.counts("trades").await {
        Some((0, _)) => Ok(()),
        found => Err(format!("{found:?}")),
    };
    eventually("all rows to be removed", left).await;
    store(&sides.stack, &sides.stack.jetstream().await, 0..OLD, now_us()).await;
    sides.cold_holds_once("trades", OLD + REMOVED).await;
    sides.in_hot("DROP DATABASE marketprism_hot SYNC").await;
    // Cold gives all others, though rows stay in hot for a shorter time than the margin of its TTL.
    let brought = format!("stream=\"MARKET_DATA\" from_cold={OLD} from_broker=0 lost=0");
    eventually("the rows of cold", async || {
        let log = central.output();
        if log.contains(&brought) { Ok(()) } else { Err(log) }
    })
    .await;
    sides.stack.holds_once("trades", OLD).await;
    confirmed(&sides.stack, OLD).await;
    every_window_is_verified(&sides).await;
    assert_eq!(losses(&sides.stack).await, []);
}

/// Hot is put back behind rows that were removed from it since; the broker has discarded their messages, and cold lacks one.
#[tokio::test(flavor = "multi_thread")]
async fn what_cold_alone_has_after_a_restore_of_hot_is_no_loss() {
    let before = format!("{SHORT_STREAMS}{}", settings());
    let Some(mut sides) = TwoSides::on_two_engines(&before).await else { return };
    let (base, jetstream) = (now_us(), sides.stack.jetstream().await);
    let mut central = sides.replicate();
    store(&sides.stack, &jetstream, 0..OLD, base).await;
    sides.stack.engine.stop().await;
    sides.stack.engine.copy_data();
    sides.stack.engine.restart().await;
    store(&sides.stack, &jetstream, OLD..2 * OLD, base).await;
    sides.cold_holds_once("trades", 2 * OLD).await;
    sides.watermark_covers("trades").await;
    every_window_is_verified(&sides).await;
    central.terminate(PATIENCE).await;
    sides.log_was_written_hours_ago(2).await;
    sides.settings = before.replace("[batch]", "remove_from_hot_after_hours = 1\n[batch]");
    let mut central = sides.replicate();
    eventually("all rows to be removed", async || match sides.stack.counts("trades").await {
        Some((0, _)) => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
    central.terminate(PATIENCE).await;

    let of_lost = format!("marketprism_cold.trades WHERE trade_id = '{}'", OLD + 10);
    let sql = format!("SELECT stream_seq FROM {of_lost}");
    let lost = sides.cold().query_raw(&sql).fetch_one::<u64>().await.unwrap();
    sides.in_cold(&format!("DELETE FROM {of_lost}")).await;
    jetstream.get_stream("MARKET_DATA").await.unwrap().purge().sequence(2 * OLD + 1).await.unwrap();
    publish(&jetstream, std::iter::once(trade(2 * OLD, base))).await;
    sides.stack.engine.stop().await;
    sides.stack.engine.put_back();
    sides.stack.engine.restart().await;
    let central = sides.replicate();
    confirmed(&sides.stack, 2 * OLD + 1).await;
    let named = losses(&sides.stack).await;
    let spans: Vec<_> = named.iter().map(|loss| (loss.0, loss.1, loss.2, loss.3.as_str())).collect();
    assert_eq!(spans, [(lost, lost, 1, "put_back")], "{named:?}");
    assert!(central.output().contains("hot lost rows"), "{}", central.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_cold_is_copied_to_again() {
    // Without rechecks only the watermark shows the restore.
    let settings = settings().replace("recheck_seconds = 1\n", "");
    let Some(mut sides) = TwoSides::on_two_engines(&settings).await else { return };
    let (base, jetstream) = (now_us(), sides.stack.jetstream().await);
    let central = sides.replicate();
    store(&sides.stack, &jetstream, 0..OLD, base).await;
    sides.cold_holds_once("trades", OLD).await;
    sides.stack.cold_engine().stop().await;
    sides.stack.cold_engine().copy_data();
    sides.stack.cold_engine().restart().await;
    store(&sides.stack, &jetstream, OLD..ALL, base).await;
    sides.cold_holds_once("trades", ALL).await;
    // Else the watermark of the copy would be the one that is known, and right.
    sides.watermark_covers("trades").await;
    // Nor that of a move without an answer, which the outage may have left: a later reading of the watermark ends it.
    for _ in 0..3 {
        let first = sides.watermark("trades").await;
        eventually("the watermark to move", async || (sides.watermark("trades").await > first).then_some(()))
            .await;
    }
    sides.stack.cold_engine().stop().await;
    sides.stack.cold_engine().put_back();
    sides.stack.cold_engine().restart().await;
    sides.cold_holds_once("trades", ALL).await;
    sides.are_the_same("trades").await;
    // A round that had read the watermark before the restore may have copied the windows that the restored log lacks.
    sides.stack.metrics_contain("marketprism_cold_put_back_total{table=\"trades\"} 1").await;
    assert!(central.output().contains("cold was put back"), "{}", central.output());
}

/// A restore that is over before any query fails: the next window closes, or not, before the watermark is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_cold_restored_in_an_instant_is_noticed_each_time() {
    let Some(sides) = TwoSides::on_one_engine(&settings().replace("recheck_seconds = 1\n", "")).await else {
        return;
    };
    let jetstream = sides.stack.jetstream().await;
    let central = sides.replicate();
    store(&sides.stack, &jetstream, 0..OLD, now_us()).await;
    sides.cold_holds_once("trades", OLD).await;
    let watermark = async || sides.watermark("trades").await.filter(|upto| *upto > 0);
    for restored in 1..=5 {
        let first = eventually("a watermark", &watermark).await;
        eventually("it to move", async || watermark().await.filter(|upto| *upto > first)).await;
        // An insert that has read the watermark before a TRUNCATE would still be stored after it.
        for sql in [
            "CREATE TABLE marketprism_cold.restored AS marketprism_cold.watermarks",
            "EXCHANGE TABLES marketprism_cold.watermarks AND marketprism_cold.restored",
            "DROP TABLE marketprism_cold.restored SYNC",
        ] {
            sides.in_cold(sql).await;
        }
        let metric = format!("marketprism_cold_put_back_total{{table=\"trades\"}} {restored}");
        eventually(&metric, async || sides.stack.get("/metrics")?.1.contains(&metric).then_some(())).await;
    }
    sides.cold_holds_once("trades", OLD).await;
    drop(central);
}

/// The store is deleted while the broker is down for a moment; then a bucket, a consumer and a stream, each alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_at_the_broker_is_created_again() {
    let Some((mut stack, central, jetstream)) = Stack::ready(&settings()).await else { return };
    let base = now_us();
    store(&stack, &jetstream, 0..OLD, base).await;
    stack.broker.kill();
    stack.broker.delete_store();
    stack.broker.restart().await;
    publish(&jetstream, (OLD..2 * OLD).map(|n| trade(n, base))).await;
    stack.holds_once("trades", 2 * OLD).await;
    stack.is_ready().await;
    confirmed(&stack, OLD).await;
    for what in ["the stream was deleted at the broker", "MARKETPRISM_LEASES"] {
        eventually(what, async || {
            let log = central.output();
            let is_reported = log.lines().any(|line| line.contains("ERROR") && line.contains(what));
            if is_reported { Ok(()) } else { Err(log) }
        })
        .await;
    }

    for bucket in ["MARKETPRISM_LEASES", "MARKETPRISM_CONFIRMED"] {
        jetstream.delete_key_value(bucket).await.unwrap();
        eventually(&format!("bucket {bucket}"), async || jetstream.get_key_value(bucket).await.ok()).await;
    }
    // It is created again when its next pull fails, maybe after central is ready.
    eventually("the consumer of AUDIT to delete", async || {
        jetstream.get_stream("AUDIT").await.ok()?.delete_consumer("central-audit").await.ok()
    })
    .await;
    jetstream.delete_stream("ORDERBOOK_SNAP").await.unwrap();
    for stream in ["ORDERBOOK_SNAP", "AUDIT"] {
        for consumer in consumers_of(stream) {
            eventually(&format!("stream {stream} and consumer {consumer}"), async || {
                jetstream.get_stream(stream).await.ok()?.consumer_info(&consumer).await.ok()
            })
            .await;
        }
    }
    publish(&jetstream, (2 * OLD..ALL).map(|n| trade(n, base))).await;
    stack.holds_once("trades", ALL).await;
    confirmed(&stack, 2 * OLD).await;
    // The whole stream would be read again.
    let behind_confirmed = DeliverPolicy::ByStartSequence { start_sequence: 2 * OLD + 1 };
    let handle = jetstream.get_stream("MARKET_DATA").await.unwrap();
    handle.delete_consumer("central-trades").await.unwrap();
    eventually("a consumer that begins behind the confirmed messages", async || {
        let info = handle.consumer_info("central-trades").await.ok()?;
        (info.config.deliver_policy == behind_confirmed).then_some(())
    })
    .await;
    stack.is_ready().await;
}

/// As with a full disk: the broker answers, and stores nothing.
#[tokio::test(flavor = "multi_thread")]
async fn leases_that_the_broker_does_not_store_are_a_reason() {
    let Some((stack, central, jetstream)) = Stack::ready("").await else { return };
    let bucket = async |max_bytes| {
        let found = jetstream.get_stream("KV_MARKETPRISM_LEASES").await.unwrap();
        let config =
            async_nats::jetstream::stream::Config { max_bytes, ..found.cached_info().config.clone() };
        jetstream.update_stream(config).await.unwrap();
    };
    bucket(1).await;
    let reason = stack.is_unready_for("leases: ").await;
    assert!(reason.contains("lease") && reason.contains("maximum bytes exceeded"), "{reason}");
    eventually("the log names it", async || {
        central.output().contains("leases cannot be written").then_some(())
    })
    .await;
    bucket(-1).await;
    stack.is_ready().await;
    publish(&jetstream, (0..10).map(|n| trade(n, now_us()))).await;
    stack.has_trades(10).await;
}

/// The copy has the position that was confirmed last, so that comparing positions shows no restore.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_hot_lost_before_it_was_confirmed_is_taken_in_again() {
    let Some((mut stack, config)) = Stack::laid_out(&settings()).await else { return };
    let (base, jetstream) = (now_us(), stack.jetstream().await);
    let central = stack.run(&config);
    let pair = [trade(ALL, base), trade(ALL + 1, base)];
    assert_eq!(publish_packed(&jetstream, &pair, 2, true).await, 1);
    publish(&jetstream, (0..OLD).map(|n| trade(n, base))).await;
    confirmed(&stack, OLD + 1).await;
    stack.execute(&half_of_a_pair()).await;
    stack.engine.stop().await;
    stack.engine.copy_data();
    stack.engine.restart().await;
    publish(&jetstream, (OLD..ALL).map(|n| trade(n, base))).await;
    stack.has_trades(ALL + 1).await;
    stack.engine.stop().await;
    stack.engine.put_back();
    stack.engine.restart().await;
    stack.holds_once("trades", ALL + 2).await;
    confirmed(&stack, ALL + 1).await;
    assert_eq!(losses(&stack).await, []);
    assert!(central.output().contains("hot lost rows"), "{}", central.output());
}
