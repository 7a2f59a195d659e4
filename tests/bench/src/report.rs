//! Response time of the integrity report over a month of windows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::stack::Stack;

use crate::engine::execute;

const STREAMS: u64 = 100;
const DAYS: u64 = 30;
const WINDOWS_A_DAY: u64 = 1_440;
/// Sequential reports; the slowest counts.
const ROUNDS: usize = 5;
/// Limit of one report.
const LIMIT: Duration = Duration::from_secs(60);
const GOAL_SECONDS: f64 = 2.0;

/// Fills ledger and window log with a month, then requests the report.
pub async fn measure(report: &mut Report) -> Result<()> {
    let stack = Stack::plain().await;
    let windows = STREAMS * DAYS * WINDOWS_A_DAY;
    execute(&stack.clickhouse, &verdicts(windows)).await?;
    execute(&stack.clickhouse, &window_log()).await?;
    let mut seconds = Vec::new();
    for round in 0..ROUNDS {
        let started = Instant::now();
        // An answer that is asked for again within a second is shared: each round asks for another one.
        let path = format!("/integrity?from={}m", usize::try_from(DAYS * WINDOWS_A_DAY)? - round);
        let answer = tokio::time::timeout(LIMIT, stack.central.get(&path)).await;
        let text =
            answer.with_context(|| format!("no report within {LIMIT:?}"))?.map_err(anyhow::Error::msg)?;
        seconds.push(started.elapsed().as_secs_f64());
        // That it is fast counts only when it has looked at everything.
        let document: serde_json::Value = serde_json::from_str(&text)?;
        let verified =
            document.pointer("/windows/verified").and_then(serde_json::Value::as_u64).unwrap_or_default();
        ensure!(verified > windows * 9 / 10, "the report knows {verified} verified windows of {windows}");
    }
    let slowest = seconds.iter().copied().fold(0.0, f64::max);
    let name = format!("report, {DAYS} days of one-minute windows of {STREAMS} streams ({windows} verdicts)");
    report.goal(format!("{name}, slowest of {ROUNDS}"), slowest, "s", Goal::AtMost(GOAL_SECONDS));
    Ok(())
}

/// A month of verdicts up to an hour ago, one in ten thousand a mismatch, one in a thousand with a gap.
fn verdicts(windows: u64) -> String {
    format!(
        "INSERT INTO marketprism_hot.verdicts SELECT \
         toDateTime64(toStartOfMinute(now('UTC')), 3, 'UTC') - toIntervalMinute(60 + intDiv(number, {STREAMS})) AS window_start, \
         60 AS window_seconds, 'trade' AS data_type, 'bench' AS exchange, 'spot' AS market_type, \
         concat('S', toString(number % {STREAMS}), '-USDT') AS symbol, 'edge-bench' AS edge, \
         if(number % 10007 = 0, 'mismatch', 'verified') AS state, \
         if(number % 10007 = 0, 'hot holds 599 of 600 events', '') AS reason, \
         600 AS expected, if(number % 10007 = 0, 599, 600) AS found, number % 3 AS duplicates, 0 AS conflated, \
         number % 1009 = 0 AS gaps, if(number % 1009 = 0, 3, 0) AS missing, \
         if(number % 1009 = 0, ['venue'], []) AS causes, 'by_one' AS numbering, 'complete' AS completeness, \
         0 AS delay_seconds, [(toInt64(window_start) * 10, toInt64(window_start) * 10 + 599)] AS stored_ids, false AS is_early, \
         now64(3, 'UTC') AS judged_at \
         FROM numbers({windows}) SETTINGS max_partitions_per_insert_block = 0"
    )
}

/// The copies of all tables in the same time.
fn window_log() -> String {
    let windows = 10 * DAYS * WINDOWS_A_DAY;
    format!(
        "INSERT INTO marketprism_cold.window_log (table_name, window_start, window_seconds, state, rows, cold_rows, attempts, method, logged_at) \
         SELECT arrayElement(['trades', 'orderbooks', 'funding_rates', 'open_interests', 'liquidations', 'lsr_top_positions', \
         'lsr_all_accounts', 'volatility_indices', 'orderbook_deltas', 'quotes'], 1 + number % 10), \
         toDateTime64(toStartOfMinute(now('UTC')), 3, 'UTC') - toIntervalMinute(60 + intDiv(number, 10)), 60, 'verified', \
         60000, 60000, 1, 'same_server', now64(3, 'UTC') FROM numbers({windows}) SETTINGS max_partitions_per_insert_block = 0"
    )
}
