//! How long a report takes, on request: `-- --ignored report_over_thirty_days --nocapture`.

use std::time::Instant;

use super::rules::integrity;
use super::seed;
use crate::stack::Stack;

/// Streams of the measurement.
const STREAMS: u64 = 100;
/// Windows of thirty days.
const WINDOWS: u64 = 43_200;

/// Goal: a report over thirty days of one-minute windows of a hundred streams, and of the copies of eight tables.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn report_over_thirty_days() {
    let Some(stack) = Stack::start() else { return };
    let config = stack.configure("");
    assert_eq!(stack.init(&config, &[]).status.code(), Some(0));
    seed::healthy(&stack).await;
    stack
        .execute(&format!(
            "INSERT INTO marketprism_hot.verdicts SELECT {} - toIntervalMinute(number % {WINDOWS}), 60, \
             if(intDiv(number, {WINDOWS}) % 2 = 0, 'trade', 'orderbook'), 'many_spot', 'spot', \
             concat('S', toString(intDiv(number, {WINDOWS})), '-USDT'), 'e1', multiIf(cityHash64(number) % 50000 = 0, \
             'mismatch', cityHash64(number) % 9000 = 1, 'unverifiable', 'verified'), '', 1000, 1000, 0, 0, \
             cityHash64(number) % 997 = 0, 0, [], now64(3) FROM numbers({})",
            seed::window(0),
            STREAMS * WINDOWS
        ))
        .await;
    stack
        .execute(
            "INSERT INTO marketprism_hot.audits (window_start, window_seconds, data_type, exchange, market_type, symbol, \
             edge, run, stored_count, gaps, created_at) SELECT window_start, 60, data_type, exchange, market_type, \
             symbol, edge, 1, 1000, if(gaps > 0, [('trade_ids', 'venue', 1, 3, 1, 1, 2, 'ids jump')], []), judged_at \
             FROM marketprism_hot.verdicts WHERE exchange = 'many_spot'"
        )
        .await;
    stack
        .execute(&format!(
            "INSERT INTO marketprism_cold.window_log (table_name, window_start, window_seconds, state, rows, cold_rows, \
             logged_at) SELECT ['trades', 'orderbooks', 'funding_rates', 'open_interests', 'liquidations', \
             'lsr_top_positions', 'lsr_all_accounts', 'volatility_indices'][1 + intDiv(number, {WINDOWS})], \
             {} - toIntervalMinute(number % {WINDOWS}), 60, 'verified', 10, 10, now64(3) FROM numbers({})",
            seed::window(0),
            8 * WINDOWS
        ))
        .await;
    for round in 1..=5 {
        let started = Instant::now();
        let (_, report) = integrity(&stack, &config, &["--from", "30d"]);
        eprintln!(
            "round {round}: {} windows of {} streams in {} ms, with the start of the command {} ms",
            report["windows"]["verified"],
            report["heat_map"]["streams_total"],
            report["took_ms"],
            started.elapsed().as_millis()
        );
    }
}
