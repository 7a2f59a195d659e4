//! A central at rest: it asks little, and finds every change of either side all the same.

use std::time::{Duration, Instant};

use marketprism_tests::wait::{PATIENCE, until};

use crate::replication::{all_is_copied, fill};
use crate::two_sides::{MINUTE_MS, QUICK, TwoSides, minutes_ago};

/// Reading queries of a round of all tables that count as a rest: measured are 4 to 6. Ten tables whose rechecks each ask for themselves make 90.
const QUERIES_A_ROUND: u64 = 10;
/// And of each second, in which clocks and states are asked for whatever number of rounds a busy machine makes.
const QUERIES_A_SECOND: u64 = 2;
/// Inserts of a round: the copy marks in hot and cold.
const INSERTS_A_ROUND: u64 = 2;
/// Several rechecks, and the pauses of all other tasks.
const SPAN: Duration = Duration::from_secs(5);

/// Waits for a span in which the engine gets few queries. Rounds are counted by their marks, since a starved central makes few too.
async fn rests(sides: &mut TwoSides) {
    let began = Instant::now();
    loop {
        let (span, before) = (Instant::now(), asked(sides).await);
        let cpu = sides.stack.engine.process().cpu_time();
        until("a span of rest", SPAN * 2, async || span.elapsed() >= SPAN).await;
        let cores =
            (sides.stack.engine.process().cpu_time() - cpu).as_secs_f64() / span.elapsed().as_secs_f64();
        let after = asked(sides).await;
        let (reading, rounds) = (after.0 - before.0, (after.1 - before.1) / INSERTS_A_ROUND);
        eprintln!("{reading} reading queries in {rounds} rounds, {cores:.3} cores of the engine");
        let allowed = rounds * QUERIES_A_ROUND + span.elapsed().as_secs() * QUERIES_A_SECOND;
        if rounds > 0 && reading <= allowed {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{reading} queries in {rounds} rounds, and no rest");
    }
}

/// Reading queries and inserts so far.
async fn asked(sides: &TwoSides) -> (u64, u64) {
    let sql = "SELECT toUInt64(sumIf(value, event = 'SelectQuery')), toUInt64(sumIf(value, event = 'InsertQuery')) FROM \
               system.events";
    sides.stack.hot().query_raw(sql).fetch_one().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_central_at_rest_asks_little_and_finds_every_change_at_its_next_recheck() {
    let Some(mut sides) = TwoSides::on_one_engine(QUICK).await else { return };
    let first_ms = minutes_ago(10);
    fill(&sides, first_ms).await;
    let _central = sides.replicate();
    all_is_copied(&sides).await;
    rests(&mut sides).await;
    sides.trades(5_000..5_010, first_ms - 60 * MINUTE_MS, 10).await;
    sides.cold_holds_once("trades", 5_010).await;
    sides.windows_are("trades", &[("verified", 6)]).await;
    rests(&mut sides).await;
    // A table with a mismatch is compared at each recheck, so each change is of another table.
    sides
        .in_cold("ALTER TABLE marketprism_cold.trades UPDATE price = price + 1 WHERE trade_id = '100'")
        .await;
    sides.in_cold("ALTER TABLE marketprism_cold.orderbooks DROP PARTITION ALL").await;
    sides.in_hot("DELETE FROM marketprism_hot.funding_rates WHERE stream_seq = 0").await;
    for (table, reason) in [
        ("trades", "cold was modified, hot is as verified"),
        ("orderbooks", "cold was modified, hot is as verified"),
        ("funding_rates", "hot was modified, cold is as verified"),
    ] {
        sides.window_becomes(table, first_ms, "mismatch", reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_log_entry_and_a_change_between_two_centrals_are_found_at_rest() {
    let Some(mut sides) = TwoSides::on_one_engine(QUICK).await else { return };
    let first_ms = minutes_ago(10);
    fill(&sides, first_ms).await;
    let central = sides.replicate();
    all_is_copied(&sides).await;
    rests(&mut sides).await;
    sides
        .in_cold(
            "ALTER TABLE marketprism_cold.window_log UPDATE ids_xor = bitXor(ids_xor, 1) WHERE table_name = 'trades'",
        )
        .await;
    sides.window_becomes("trades", first_ms, "mismatch", "differ from the verified state").await;
    drop(central);
    sides.in_cold("ALTER TABLE marketprism_cold.orderbooks DROP PARTITION ALL").await;
    let _next = sides.replicate();
    sides.window_becomes("orderbooks", first_ms, "mismatch", "cold was modified, hot is as verified").await;
}
