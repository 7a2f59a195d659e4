//! Replication from hot to cold.

use std::time::{Duration, Instant};

use marketprism_tests::broker::free_port;
use marketprism_tests::process::Process;
use marketprism_tests::wait::eventually;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::sharing::{Pair, TAKEOVER};
use crate::stack::Stack;
use crate::two_sides::{MINUTE_MS, QUICK, TwoSides, minutes_ago};

const BOOKS: &str = "INSERT INTO marketprism_hot.orderbooks (timestamp, exchange, market_type, symbol, venue_symbol, last_update_id, bids, \
     asks, depth, epoch, received_at, event_id, edge, region, adapter, data_source, stream_seq, created_at) SELECT at - 0.1, \
     'sim_spot', 'spot', 'A-B', 'AB', n, if(n % 5 = 0, [], arrayMap(i -> (toDecimal128(n - i, 18), toDecimal128(i, 18)), \
     range(1, 40))), arrayMap(i -> (toDecimal128(n + i, 18), toDecimal128(i, 18)), range(1, 40)), 39, 1, at, \
     reinterpretAsUInt128(sipHash128(n, 'book')), 'e', 'r', 'a', 'live', n, at FROM (SELECT number AS n, \
     fromUnixTimestamp64Milli(toInt64({first} + number * 500), 'UTC') AS at FROM numbers(600))";

const RATES: &str = "INSERT INTO marketprism_hot.funding_rates (timestamp, exchange, market_type, symbol, venue_symbol, funding_rate, \
     funding_time, next_funding_time, interval_hours, mark_price, index_price, received_at, event_id, edge, region, adapter, \
     data_source, stream_seq, created_at) SELECT at - 0.1, 'sim_spot', 'perpetual', 'A-B', 'AB', toDecimal128(n, 18), if(n % 2 = \
     0, NULL, at), if(n % 3 = 0, NULL, at), if(n % 5 = 0, NULL, 8), if(n % 2 = 0, NULL, toDecimal128(5, 18)), if(n % 2 = 1, \
     NULL, toDecimal128(5, 18)), at, reinterpretAsUInt128(sipHash128(n, 'rate')), 'e', 'r', 'a', 'live', n, at FROM (SELECT \
     number AS n, fromUnixTimestamp64Milli(toInt64({first} + number * 20000), 'UTC') AS at FROM numbers(15))";

/// Trades, order books and funding rates in five windows each.
pub async fn fill(sides: &TwoSides, first_ms: i64) {
    sides.trades(0..5_000, first_ms, 1_000).await;
    for sql in [BOOKS, RATES] {
        sides.in_hot(&sql.replace("{first}", &first_ms.to_string())).await;
    }
}

pub async fn all_is_copied(sides: &TwoSides) {
    sides.cold_holds_once("trades", 5_000).await;
    sides.cold_holds_once("orderbooks", 600).await;
    sides.cold_holds_once("funding_rates", 15).await;
    for table in ["trades", "orderbooks", "funding_rates"] {
        sides.windows_are(table, &[("verified", 5)]).await;
        sides.are_the_same(table).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_copying_gives_the_same_rows() {
    for method in ["same_server", "remote", "stream"] {
        let settings = format!("{QUICK}method = \"{method}\"\nhot_native_address = \"127.0.0.1\"\n");
        let sides = match method {
            "stream" => TwoSides::on_two_engines(&settings).await,
            _ => TwoSides::on_one_engine(&settings).await,
        };
        let Some(mut sides) = sides else { return };
        if method == "remote" {
            sides.stack.engine.restart_with(&["--grant", "READ ON REMOTE"]).await;
        }
        fill(&sides, minutes_ago(10)).await;
        let _central = sides.replicate();
        all_is_copied(&sides).await;
        sides.stack.metrics_contain("marketprism_cold_replication_lag_minutes{table=\"trades\"}").await;
    }
}

/// Central gets SIGKILL at seeded times in the middle of copies; some rows arrive late on top.
#[tokio::test(flavor = "multi_thread")]
async fn killing_the_replicator_doubles_and_loses_nothing() {
    const SEED: u64 = 20_261_123;
    let settings = format!("{QUICK}catch_up_high = 2\n");
    let Some(sides) = TwoSides::on_two_engines(&settings).await else { return };
    let mut random = StdRng::seed_from_u64(SEED);
    let first_ms = minutes_ago(60);
    sides.trades(0..37_500, first_ms, 7_500).await;
    sides.trades(37_500..47_500, first_ms + 6 * MINUTE_MS, 300).await;
    let mut late = 47_500;
    for round in 0..8 {
        let (before, _) = sides.cold_counts("trades").await.unwrap();
        let mut central = sides.replicate();
        let more = random.random_range(1..3_750);
        let patience = Instant::now() + Duration::from_millis(random.random_range(300..1_500));
        eventually("some rows more, or time for the next kill", || async {
            let (rows, distinct) = sides.cold_counts("trades").await?;
            assert_eq!(rows, distinct, "round {round}: doubled");
            (rows >= before + more || Instant::now() >= patience).then_some(())
        })
        .await;
        central.kill();
        sides.trades(late..late + 500, first_ms + i64::from(round % 4) * MINUTE_MS, 500).await;
        late += 500;
    }
    let _central = sides.replicate();
    sides.cold_holds_once("trades", late).await;
    sides.windows_are("trades", &[("verified", 39)]).await;
    sides.are_the_same("trades").await;
}

/// Its own marks would give a lag of zero for ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_cold_grows_and_the_lease_is_named_while_nobody_replicates() {
    let Some(sides) = TwoSides::on_one_engine(QUICK).await else { return };
    let upto_ms = minutes_ago(120);
    sides
        .in_cold(&format!(
            "INSERT INTO marketprism_cold.watermarks SELECT 'trades', at, at, 'copied', at FROM (SELECT \
             fromUnixTimestamp64Milli({upto_ms}, 'UTC') AS at)"
        ))
        .await;
    let config = sides.stack.configure(&sides.settings);
    let mut command = Stack::central_command("run", &config);
    let _central = Process::start("central", command.args(["--role", "hot"]), sides.stack.folder());
    sides.stack.is_ready().await;
    let lag = |path: &str, list: &str| {
        let (_, body) = sides.stack.get(path)?;
        let document: Value = serde_json::from_str(&body).unwrap();
        let trades = document[list].as_array()?.iter().find(|table| table["table"] == "trades")?;
        trades["lag_minutes"].as_f64().map(|lag| (lag, document.clone()))
    };
    // Later than the time in which newest rows are looked for first, and within it.
    for (numbers, minutes, least) in [(0..100, 60, 55.0), (100..200, 5, 110.0)] {
        sides.trades(numbers, minutes_ago(minutes), 100).await;
        for (path, list) in [("/overview", "cold"), ("/integrity", "tables")] {
            eventually("the lag to be that of the rows of hot", async || {
                let (lag, _) = lag(path, list)?;
                (lag >= least).then_some(())
            })
            .await;
        }
    }
    eventually("the lease to be named", async || {
        let (_, overview) = lag("/overview", "cold")?;
        overview["not_held"]
            .as_array()?
            .iter()
            .any(|text| text.as_str().unwrap().contains("replicator"))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cold_may_be_unreachable() {
    let Some(mut sides) = TwoSides::on_two_engines(&format!("{QUICK}retries = 1\n")).await else { return };
    let first_ms = minutes_ago(20);
    sides.trades(0..4_000, first_ms, 1_000).await;
    let _central = sides.replicate();
    sides.cold_holds_once("trades", 4_000).await;
    sides.stack.cold_engine().kill();
    sides.trades(4_000..9_000, first_ms + 4 * MINUTE_MS, 1_000).await;
    sides.trades(9_000..9_100, first_ms, 100).await;
    eventually("central to notice", || async {
        let (_, metrics) = sides.stack.get("/metrics")?;
        metrics.contains("is_failing{table=\"trades\"} 1").then_some(())
    })
    .await;
    sides.stack.cold_engine().restart().await;
    sides.cold_holds_once("trades", 9_100).await;
    sides.windows_are("trades", &[("verified", 9)]).await;
    sides.are_the_same("trades").await;
}

/// The central that copied is killed while cold is unreachable, so the other one cannot begin.
#[tokio::test(flavor = "multi_thread")]
async fn copying_that_cannot_begin_is_reported() {
    const FAILS: [&str; 2] = ["is_failing{table=\"trades\"} 1", "is_failing{table=\"instruments\"} 1"];
    let Some(mut sides) = TwoSides::on_two_engines(QUICK).await else { return };
    let mut pair = Pair::start(&sides.stack, QUICK).await;
    let copies = |pair: &Pair, i: usize, value: u8| {
        let line = format!("marketprism_cold_replicator_is_active {value}");
        pair.metrics(i).is_some_and(|metrics| metrics.lines().any(|one| one == line))
    };
    let first = eventually("a central to copy", || async { (0..2).find(|i| copies(&pair, *i, 1)) }).await;
    sides.stack.cold_engine().kill();
    pair.kill(first);
    let health = |pair: &Pair| Stack::get_at(pair.port(1 - first), "/health");
    eventually("the other one to report it", || async {
        let (metrics, (status, reasons)) = (pair.metrics(1 - first)?, health(&pair)?);
        let is_reported = FAILS.iter().all(|fails| metrics.contains(fails));
        (is_reported && status == 503 && reasons.contains("copying trades: ")).then_some(())
    })
    .await;
    eventually("messages to be stored all the same", || async {
        Stack::get_at(pair.port(1 - first), "/ready").filter(|(status, _)| *status == 200)
    })
    .await;
    // The alert without a replicator reads this of every central.
    pair.restart(&sides.stack, first);
    eventually("the first one to wait", || async { copies(&pair, first, 0) }).await;

    sides.stack.cold_engine().restart().await;
    eventually("all to be well", || async {
        let (status, reasons) = health(&pair)?;
        (status == 200 && !reasons.contains("copying")).then_some(())
    })
    .await;
    let metrics = pair.metrics(1 - first).unwrap();
    assert!(FAILS.iter().all(|fails| !metrics.contains(fails)), "{metrics}");
}

/// One window within the look-back, one that only the recheck of everything finds.
#[tokio::test(flavor = "multi_thread")]
async fn late_rows_open_their_window_again() {
    let Some(sides) = TwoSides::on_one_engine(QUICK).await else { return };
    let (recent_ms, old_ms) = (minutes_ago(5), minutes_ago(300));
    sides.trades(0..1_000, recent_ms, 1_000).await;
    sides.trades(1_000..2_000, old_ms, 1_000).await;
    let _central = sides.replicate();
    sides.cold_holds_once("trades", 2_000).await;
    sides.windows_are("trades", &[("verified", 2)]).await;
    sides.trades(2_000..2_010, recent_ms, 10).await;
    sides.trades(2_010..2_020, old_ms, 10).await;
    sides.trades(2_020..2_030, old_ms + 7 * MINUTE_MS, 10).await;
    sides.cold_holds_once("trades", 2_030).await;
    sides.windows_are("trades", &[("verified", 3)]).await;
    sides.are_the_same("trades").await;
}

/// Hot is put back after the copy of a window and before its entry in the log, and gets the rows again.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_whose_rows_hot_has_again_is_sound_if_it_was_never_verified() {
    let Some(sides) = TwoSides::on_two_engines(QUICK).await else { return };
    let (first_ms, lost_ms) = (minutes_ago(20), minutes_ago(15));
    sides.trades(0..1_000, lost_ms, 1_000).await;
    let mut central = sides.replicate();
    sides.windows_are("trades", &[("verified", 1)]).await;
    central.kill();
    for table in ["window_log", "watermarks"] {
        sides.in_cold(&format!("TRUNCATE TABLE marketprism_cold.{table}")).await;
    }
    sides.in_hot("TRUNCATE TABLE marketprism_hot.trades").await;
    sides.trades(1_000..2_000, first_ms, 1_000).await;
    let _central = sides.replicate();
    sides.window_becomes("trades", lost_ms, "mismatch", "cold was modified").await;
    sides.trades(0..1_000, lost_ms, 1_000).await;
    sides.windows_are("trades", &[("verified", 2)]).await;
    sides.are_the_same("trades").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_central_takes_over() {
    let Some(sides) = TwoSides::on_one_engine(QUICK).await else { return };
    let first_ms = minutes_ago(20);
    sides.trades(0..2_000, first_ms, 1_000).await;
    let mut first = sides.replicate();
    sides.cold_holds_once("trades", 2_000).await;
    let port = free_port();
    let second = sides.stack.run(&sides.stack.configure_as("second", port, &sides.settings));
    // How long it takes to start is not what is looked at.
    eventually("the other one to be ready", || async {
        Stack::get_at(port, "/ready").filter(|(status, _)| *status == 200)
    })
    .await;
    first.kill();
    let died = Instant::now();
    sides.trades(2_000..4_000, first_ms + 5 * MINUTE_MS, 1_000).await;
    sides.cold_holds_once("trades", 4_000).await;
    let took = died.elapsed();
    assert!(took < TAKEOVER, "the other central took {took:?}");
    sides.windows_are("trades", &[("verified", 4)]).await;
    drop(second);
}

/// Old trades are copied, deleted from hot and inserted into hot again, with a new old trade and a recent one. The server keeps rows for longer
/// than central knows: else a deletion would drop a part with nothing but expired rows.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_event_published_again_stays_one_row() {
    let Some(sides) = TwoSides::on_two_engines(QUICK).await else { return };
    events_published_again_stay_one_row(&sides, 4).await;
}

/// Hot would keep them now, and dropped them while `hot_ttl_days` was lower.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_published_again_after_hot_keeps_rows_for_longer_stays_one_row() {
    let Some(sides) = TwoSides::on_two_engines(QUICK).await else { return };
    sides.stack.raise_hot_ttl(&sides.stack.configure(&sides.settings)).await;
    events_published_again_stay_one_row(&sides, 2).await;
}

async fn events_published_again_stay_one_row(sides: &TwoSides, days_old: i64) {
    let (first_ms, again_ms) = (minutes_ago(30), minutes_ago(10));
    let venue_ms = first_ms - days_old * 24 * 60 * MINUTE_MS;
    sides
        .in_hot("ALTER TABLE marketprism_hot.trades MODIFY TTL toDateTime(timestamp) + INTERVAL 9 DAY DELETE")
        .await;
    sides.trades_of(0..100, first_ms, 200, venue_ms).await;
    let _central = sides.replicate();
    sides.windows_are("trades", &[("verified", 1)]).await;
    sides.in_hot("ALTER TABLE marketprism_hot.trades DELETE WHERE 1 SETTINGS mutations_sync = 2").await;
    // Each row keeps its number and venue time.
    sides.trades_of(0..101, again_ms, 200, venue_ms).await;
    sides.trades(101..102, again_ms + MINUTE_MS, 1).await;
    sides.windows_are("trades", &[("verified", 3)]).await;
    sides.cold_holds_once("trades", 102).await;
    let (rows, _) = sides.stack.counts("trades").await.unwrap();
    assert_eq!(rows, 2, "hot holds what was new to cold");
    let (state, reason) = sides.window("trades", first_ms).await.unwrap();
    assert_eq!((state.as_str(), reason.as_str()), ("verified", ""));
    sides.stack.metrics_contain("marketprism_cold_published_again_total{table=\"trades\"} 100").await;
}

/// The pause between rounds is longer than the test's patience.
#[tokio::test(flavor = "multi_thread")]
async fn catching_up_does_not_pause() {
    let settings = "[replication]\nsafety_lag_seconds = 0\ninterval_ms = 3600000\n";
    let Some(sides) = TwoSides::on_one_engine(settings).await else { return };
    sides.trades(0..2_300, minutes_ago(40), 100).await;
    let _central = sides.replicate();
    sides.windows_are("trades", &[("verified", 23)]).await;
    sides.are_the_same("trades").await;
}

/// A constraint on the cold table. Without rechecks only copying distinguishes the windows.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cold_refuses_keeps_back_its_window_only() {
    let settings = format!("{QUICK}catch_up_high = 10\n").replace("recheck_seconds = 1\n", "");
    let Some(sides) = TwoSides::on_one_engine(&settings).await else { return };
    let first_ms = minutes_ago(15);
    sides
        .in_cold("ALTER TABLE marketprism_cold.trades ADD CONSTRAINT not_this CHECK trade_id != '150'")
        .await;
    sides.trades(0..600, first_ms, 100).await;
    let _central = sides.replicate();
    sides.windows_are("trades", &[("failed", 1), ("verified", 5)]).await;
    sides.cold_holds_once("trades", 500).await;
    sides.window_becomes("trades", first_ms + MINUTE_MS, "failed", "not_this").await;
    sides.in_cold("ALTER TABLE marketprism_cold.trades DROP CONSTRAINT not_this").await;
    let repaired = sides.stack.command("repair", &sides.stack.configure(&sides.settings), &[]);
    assert_eq!(repaired.status.code(), Some(0), "{}", String::from_utf8_lossy(&repaired.stdout));
    sides.windows_are("trades", &[("verified", 6)]).await;
    sides.are_the_same("trades").await;
}
