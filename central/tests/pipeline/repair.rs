//! Rows modified or deleted by hand are reported, and repaired where that is possible.

use futures_util::StreamExt as _;
use marketprism_tests::wait::eventually;

use crate::replication::{all_is_copied, fill};
use crate::stack::PATIENCE;
use crate::two_sides::{MINUTE_MS, QUICK, SHORT_STREAMS, TwoSides, minutes_ago};

fn repair(sides: &TwoSides, more: &[&str]) -> (Option<i32>, String) {
    let output = sides.stack.command("repair", &sides.stack.configure(&sides.settings), more);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    eprintln!(
        "repair {more:?}: {:?}\n{text}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), text)
}

fn rows_of(window_ms: i64, numbers: &str) -> String {
    format!(
        "created_at >= fromUnixTimestamp64Milli({window_ms}, 'UTC') AND created_at < fromUnixTimestamp64Milli({}, 'UTC') AND \
         stream_seq IN ({numbers}) SETTINGS mutations_sync = 2",
        window_ms + MINUTE_MS
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_rows_are_named_and_mended() {
    let Some(sides) = TwoSides::on_two_engines(QUICK).await else { return };
    let first_ms = minutes_ago(30);
    let window = |index: i64| first_ms + index * MINUTE_MS;
    sides.trades(0..2_500, first_ms, 500).await;
    let _central = sides.replicate();
    sides.windows_are("trades", &[("verified", 5)]).await;
    let [before, _] = sides.contents("trades").await;

    let (hot, cold) = ("marketprism_hot.trades", "marketprism_cold.trades");
    sides.in_cold(&format!("ALTER TABLE {cold} UPDATE price = 7 WHERE {}", rows_of(window(0), "3"))).await;
    sides.in_cold(&format!("ALTER TABLE {cold} DELETE WHERE {}", rows_of(window(1), "501, 502"))).await;
    sides
        .in_hot(&format!("ALTER TABLE {hot} UPDATE quantity = 9 WHERE {}", rows_of(window(2), "1003")))
        .await;
    sides.in_hot(&format!("ALTER TABLE {hot} DELETE WHERE {}", rows_of(window(3), "1501, 1502"))).await;
    sides.in_hot(&format!("ALTER TABLE {hot} DELETE WHERE {}", rows_of(window(4), "2001"))).await;
    sides.in_cold(&format!("ALTER TABLE {cold} DELETE WHERE {}", rows_of(window(4), "2002"))).await;
    for (index, reason) in [
        (0, "cold was modified"),
        (1, "cold was modified"),
        (2, "hot was modified"),
        (3, "hot was modified"),
        (4, "cannot decide which side is right"),
    ] {
        sides.window_becomes("trades", window(index), "mismatch", reason).await;
    }

    let four = ["--from", &moment(window(0)), "--to", &moment(window(4))];
    let (code, text) = repair(&sides, &[&four[..], &["--dry-run"]].concat());
    assert_eq!((code, text.matches("would repair ").count()), (Some(1), 5), "{text}");
    let (code, text) = repair(&sides, &four);
    assert_eq!(
        (code, text.matches("\nrepaired").count() + usize::from(text.starts_with("repaired"))),
        (Some(0), 5),
        "{text}"
    );
    let (code, text) = repair(&sides, &four);
    assert_eq!((code, text.as_str()), (Some(0), "nothing to repair\n"));
    let config = sides.stack.configure(&sides.settings);
    assert_eq!(
        sides.stack.unread("repair", &config, &four),
        Some(0),
        "a reader that has seen enough is no failure"
    );
    assert_eq!(sides.stack.unread("init", &config, &["--apply"]), Some(0));

    let (code, text) = repair(&sides, &[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("NOT REPAIRED") && text.contains("which side is"), "{text}");
    sides.windows_are("trades", &[("mismatch", 1), ("verified", 4)]).await;
    let [hot, cold] = sides.contents("trades").await;
    let sound = |rows: &[String]| rows.iter().filter(|row| before.contains(row)).count();
    assert_eq!(
        (hot.len(), sound(&hot)),
        (2_499, 2_499),
        "hot is as it was, but for the row of the last window"
    );
    assert_eq!(
        (cold.len(), sound(&cold)),
        (2_499, 2_499),
        "cold is as it was, but for the row of the last window"
    );
}

/// Only the first of so many lost events were looked for: the others came back a second time.
#[tokio::test(flavor = "multi_thread")]
async fn no_event_of_a_large_lost_window_that_arrived_again_comes_back_twice() {
    const KEPT: u64 = 10;
    // One more than a query of them takes.
    const LOST: u64 = 20_001;
    let Some(sides) = TwoSides::on_one_engine(QUICK).await else { return };
    let first_ms = minutes_ago(20);
    sides.trades(0..KEPT + LOST, first_ms, KEPT + LOST).await;
    let _central = sides.replicate();
    sides.windows_are("trades", &[("verified", 1)]).await;
    // The ids are looked for in their order.
    let last = format!(
        "(SELECT max(event_id) FROM marketprism_hot.trades WHERE stream_seq >= {KEPT} AND created_at < fromUnixTimestamp64Milli({}, 'UTC'))",
        first_ms + MINUTE_MS
    );
    sides
        .in_hot(&format!(
            "INSERT INTO marketprism_hot.trades SELECT * REPLACE (now64(3) AS created_at) FROM \
             marketprism_hot.trades WHERE event_id = {last}"
        ))
        .await;
    sides
        .in_hot(&format!(
            "ALTER TABLE marketprism_hot.trades DELETE WHERE stream_seq >= {KEPT} AND created_at < \
             fromUnixTimestamp64Milli({}, 'UTC') SETTINGS mutations_sync = 2",
            first_ms + MINUTE_MS
        ))
        .await;
    sides.window_becomes("trades", first_ms, "mismatch", "hot was modified").await;
    let span = ["--from", &moment(first_ms), "--to", &moment(first_ms + MINUTE_MS)];
    let (code, text) = repair(&sides, &span);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("arrived again later: they stay in their later window"), "{text}");
    assert_eq!(sides.stack.counts("trades").await, Some((KEPT + 1, KEPT + 1)));
}

/// A NULL is swapped with the value of the next column, and the two sides of a book are exchanged.
#[tokio::test(flavor = "multi_thread")]
async fn nulls_and_swapped_columns_are_noticed() {
    let Some(sides) = TwoSides::on_one_engine(QUICK).await else { return };
    let first_ms = minutes_ago(20);
    fill(&sides, first_ms).await;
    let _central = sides.replicate();
    all_is_copied(&sides).await;
    for (table, change, number, row_ms) in [
        ("funding_rates", "mark_price = index_price, index_price = mark_price", 2, first_ms),
        ("orderbooks", "bids = asks, asks = bids", 5, first_ms),
        (
            "orderbooks",
            "bids = arrayPushBack(bids, asks[1]), asks = arrayPopFront(asks)",
            121,
            first_ms + MINUTE_MS,
        ),
    ] {
        let rows = rows_of(row_ms, &number.to_string());
        sides.in_cold(&format!("ALTER TABLE marketprism_cold.{table} UPDATE {change} WHERE {rows}")).await;
        sides.window_becomes(table, row_ms, "mismatch", "rows: 1 with other content").await;
    }
    let (code, text) = repair(&sides, &[]);
    assert_eq!((code, text.matches("1 rows deleted and copied again").count()), (Some(0), 3), "{text}");
    all_is_copied(&sides).await;
}

/// A new table is no table with a raised TTL. The first window has events of two days before.
#[tokio::test(flavor = "multi_thread")]
async fn windows_of_a_dropped_hot_table_are_lost_and_come_back() {
    let Some(sides) = TwoSides::on_two_engines(QUICK).await else { return };
    let first_ms = minutes_ago(30);
    sides.trades_of(0..100, first_ms, 100, first_ms - 2 * 24 * 60 * MINUTE_MS).await;
    sides.trades(100..200, first_ms + MINUTE_MS, 100).await;
    let mut central = sides.replicate();
    sides.windows_are("trades", &[("verified", 2)]).await;
    central.terminate(PATIENCE).await;
    sides.in_hot("DROP TABLE marketprism_hot.trades SYNC").await;
    let _central = sides.replicate();
    sides.windows_are("trades", &[("mismatch", 2)]).await;
    let (code, text) = repair(&sides, &[]);
    assert_eq!(code, Some(0), "{text}");
    sides.windows_are("trades", &[("verified", 2)]).await;
    assert_eq!(sides.stack.counts("trades").await, Some((200, 200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_from_hot_is_no_loss() {
    let Some(mut sides) = TwoSides::on_one_engine(&format!("{SHORT_STREAMS}{QUICK}")).await else { return };
    let first_ms = minutes_ago(10);
    sides.trades(0..600, first_ms, 200).await;
    let mut central = sides.replicate();
    sides.windows_are("trades", &[("verified", 3)]).await;
    central.terminate(PATIENCE).await;
    sides.log_was_written_hours_ago(2).await;
    sides.trades(600..610, first_ms + MINUTE_MS, 10).await;
    sides.settings = format!("{SHORT_STREAMS}{QUICK}remove_from_hot_after_hours = 1\n");
    let _central = sides.replicate();
    eventually("only the window with late rows to be left in hot", || async {
        let (rows, _) = sides.stack.counts("trades").await?;
        (rows == 210).then_some(())
    })
    .await;
    sides.trades(610..620, first_ms, 10).await;
    sides.cold_holds_once("trades", 620).await;
    sides.windows_are("trades", &[("verified", 3)]).await;
    let (state, reason) = sides.window("trades", first_ms).await.unwrap();
    assert!(state == "verified" && reason.starts_with("removed from hot"), "{state} {reason}");
}

/// Trades of one window, copied by a central that has ended, and verified two hours ago.
async fn verified_hours_ago(trades: u64) -> Option<(TwoSides, i64)> {
    let sides = TwoSides::on_one_engine(&format!("{SHORT_STREAMS}{QUICK}")).await?;
    let first_ms = minutes_ago(10);
    sides.trades(0..trades, first_ms, trades).await;
    let mut central = sides.replicate();
    sides.windows_are("trades", &[("verified", 1)]).await;
    central.terminate(PATIENCE).await;
    sides.log_was_written_hours_ago(2).await;
    Some((sides, first_ms))
}

/// Logs so many windows before one, hours ago, with these states, reasons, rows, ids, columns and oldest venue times.
async fn log_before(sides: &TwoSides, first_ms: i64, windows: u32, values: &str) {
    let columns = "state, reason, rows, ids_xor, columns_hash, oldest_timestamp";
    let sql = format!(
        "INSERT INTO marketprism_cold.window_log (table_name, window_start, window_seconds, logged_at, {columns}) SELECT 'trades', \
         fromUnixTimestamp64Milli({first_ms} - (toInt64(number) + 1) * {MINUTE_MS}, 'UTC'), 60, now64(3) - INTERVAL 2 HOUR, {values} \
         FROM numbers({windows})"
    );
    sides.in_cold(&sql).await;
}

async fn hot_is_empty(sides: &TwoSides) {
    eventually("no trades in hot", async || match sides.stack.counts("trades").await {
        Some((0, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// They come again in a later window, while nothing is removed any more.
#[tokio::test(flavor = "multi_thread")]
async fn removed_events_that_are_published_again_after_removals_ended_stay_one_row() {
    let Some((mut sides, first_ms)) = verified_hours_ago(200).await else { return };
    let without = sides.settings.clone();
    sides.settings.push_str("remove_from_hot_after_hours = 1\n");
    let mut central = sides.replicate();
    hot_is_empty(&sides).await;
    central.terminate(PATIENCE).await;
    sides.settings = without;
    let _central = sides.replicate();
    let again_ms = first_ms + 3 * MINUTE_MS;
    sides.trades_of(0..200, again_ms, 200, first_ms - 100).await;
    sides.trades(200..201, again_ms + MINUTE_MS, 1).await;
    sides.stack.metrics_contain("marketprism_cold_published_again_total{table=\"trades\"} 200").await;
    sides.cold_holds_once("trades", 201).await;
}

/// As many windows as a round removes, each with more rows than are compared one by one. Cold has dropped those rows since.
#[tokio::test(flavor = "multi_thread")]
async fn windows_too_large_to_be_removed_from_hot_hold_up_no_smaller_one() {
    let Some((mut sides, first_ms)) = verified_hours_ago(200).await else { return };
    let hash = "(SELECT any(columns_hash) FROM marketprism_cold.window_log WHERE table_name = 'trades')";
    let old = "toDateTime64('2001-01-01 00:00:00', 6, 'UTC')";
    log_before(&sides, first_ms, 20, &format!("'verified', '', 4000001, 1, {hash}, {old}")).await;
    sides.settings.push_str("remove_from_hot_after_hours = 1\n");
    let _central = sides.replicate();
    hot_is_empty(&sides).await;
    sides.windows_are("trades", &[("verified", 21)]).await;
}

/// A statement deletes 20,000 rows. The server carries out none until the first has timed out.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_from_hot_that_failed_is_finished_by_a_later_round() {
    let Some((mut sides, first_ms)) = verified_hours_ago(30_000).await else { return };
    sides.settings.push_str("remove_from_hot_after_hours = 1\nquery_timeout_ms = 3000\n");
    sides.in_hot("SYSTEM STOP MERGES marketprism_hot.trades").await;
    let _central = sides.replicate();
    sides.window_becomes("trades", first_ms, "verified", "removed from hot").await;
    sides.stack.metrics_contain("marketprism_cold_replication_is_failing{table=\"trades\"} 1").await;
    sides.in_hot("SYSTEM START MERGES marketprism_hot.trades").await;
    hot_is_empty(&sides).await;
    eventually("the log to say so", async || {
        let (state, reason) = sides.window("trades", first_ms).await?;
        ((state.as_str(), reason.as_str()) == ("verified", "removed from hot")).then_some(())
    })
    .await;
    sides.stack.metrics_contain("rows_removed_from_hot_total{table=\"trades\"} 30000").await;
}

/// The test plays one of two edges.
#[tokio::test(flavor = "multi_thread")]
async fn edges_are_asked_for_what_is_missing() {
    let Some(sides) = TwoSides::on_one_engine(QUICK).await else { return };
    let start_ms = minutes_ago(10);
    for (data_type, edge, ms) in [
        ("trade", "e1", start_ms),
        ("trade", "e1", start_ms + MINUTE_MS),
        ("trade", "e2", start_ms),
        ("orderbook_delta", "e2", start_ms),
        ("orderbook_delta", "e3", start_ms),
    ] {
        sides
            .in_hot(&format!(
                "INSERT INTO marketprism_hot.verdicts (window_start, window_seconds, data_type, exchange, market_type, symbol, edge, \
                 state, reason, expected, found, judged_at) VALUES (fromUnixTimestamp64Milli({ms}, 'UTC'), 60, '{data_type}', 'sim_spot', \
                 'spot', 'A-B', '{edge}', 'mismatch', 'missing', 10, 8, now64(3))"
            ))
            .await;
    }
    let nats = sides.stack.jetstream().await.client();
    let mut asked = nats.subscribe("repair.e1").await.unwrap();
    let edge = tokio::spawn(async move {
        let mut requests = Vec::new();
        // The second time in place of the other edge.
        let kept_from = (start_ms + MINUTE_MS) * 1_000_000;
        for (state, resent) in [("resent", 4), ("not_kept", 0)] {
            let message = asked.next().await.unwrap();
            let request: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            let answer = serde_json::json!({
                "version": 1, "request_id": request["request_id"], "state": state, "resent": resent,
                "kept_from": kept_from, "reason": ""
            });
            nats.publish(message.reply.unwrap(), answer.to_string().into()).await.unwrap();
            nats.flush().await.unwrap();
            requests.push(request);
        }
        requests.remove(0)
    });
    let (code, text) = tokio::task::spawn_blocking(move || repair(&sides, &[])).await.unwrap();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("edge e1 sends 4 events again"), "{text}");
    assert!(
        text.contains("e2 sim_spot.spot.A-B: 2 events are missing; e2: the edge did not answer"),
        "{text}"
    );
    let no_other_has_it = |line: &&str| line.matches("did not answer").count() == 1;
    let deltas: Vec<&str> = text.lines().filter(|line| line.contains("orderbook_deltas")).collect();
    // Those of two edges, each as it is decided and in the summary.
    assert!(deltas.len() == 4 && deltas.iter().all(no_other_has_it), "{text}");
    assert!(text.contains("e3: the edge did not answer"), "{text}");
    assert!(
        text.contains("e1: sends 0 events again (not_kept)") && text.contains("would have been needed"),
        "{text}"
    );
    let request = edge.await.unwrap();
    let (from, to) = (start_ms * 1_000_000, (start_ms + 2 * MINUTE_MS) * 1_000_000);
    assert_eq!((request["from"].as_i64(), request["to"].as_i64()), (Some(from), Some(to)), "{request}");
}

/// RFC 3339 of milliseconds since 1970.
fn moment(ms: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(ms / 1_000).unwrap();
    format!("{}T{:02}:{:02}:{:02}Z", at.date(), at.hour(), at.minute(), at.second())
}
