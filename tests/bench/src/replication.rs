//! Hot to cold with verification, against the bare copy of the same rows by the engine.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use marketprism_tests::stack::Stack;

use crate::edge::rate;
use crate::engine::execute;
use crate::goal::{Goal, Report};

/// Windows that the rows lie in.
const WINDOWS: u64 = 10;
/// Longest wait for the last window.
const LIMIT: Duration = Duration::from_secs(180);
const GOAL_TIMES: f64 = 2.0;

/// Fills hot while central is down, then measures from central's start to the last verified window.
pub async fn measure(report: &mut Report, rows: u64) -> Result<()> {
    let mut stack = Stack::plain().await;
    let query =
        "SELECT count() FROM system.tables WHERE database = 'marketprism_cold' AND name = 'window_log'";
    until(&stack, query, 1, Instant::now()).await?;
    stack.central.kill();
    execute(&stack.clickhouse, &trades(rows)).await?;

    execute(&stack.clickhouse, "CREATE TABLE marketprism_cold.bare AS marketprism_cold.trades").await?;
    let started = Instant::now();
    execute(
        &stack.clickhouse,
        "INSERT INTO marketprism_cold.bare SELECT * FROM marketprism_hot.trades SETTINGS max_partitions_per_insert_block = 0",
    )
    .await?;
    let bare = started.elapsed();
    execute(&stack.clickhouse, "DROP TABLE marketprism_cold.bare SYNC").await?;

    let started = Instant::now();
    stack.central.start_without_waiting();
    let query = "SELECT toUInt64(sum(cold_rows)) FROM marketprism_cold.window_log FINAL WHERE table_name = 'trades' AND state = 'verified'";
    until(&stack, query, rows, started).await?;
    let verified = started.elapsed();
    report.figure("replication, bare INSERT SELECT of the same rows", rate(rows, bare), "rows/s");
    let name = "replication, copied and verified, start of central included";
    report.figure(name, rate(rows, verified), "rows/s");
    let times = verified.as_secs_f64() / bare.as_secs_f64();
    report.goal("replication with verification / bare copy, time", times, "times", Goal::AtMost(GOAL_TIMES));
    Ok(())
}

/// Trades that central stored in some of the last full minutes, long enough ago.
fn trades(rows: u64) -> String {
    format!(
        "INSERT INTO marketprism_hot.trades SELECT now64(6, 'UTC') - toIntervalMinute(30) + toIntervalMicrosecond(number), \
         'bench', 'spot', concat('S', toString(number % 10), '-USDT'), 'SUSDT', toString(number), \
         toDecimal128(64000 + number % 1000, 18), toDecimal128(1, 18) / (1 + number % 97), if(number % 2 = 0, 'buy', 'sell'), \
         number % 2 = 1, now64(9, 'UTC') - toIntervalMinute(30), \
         bitOr(bitShiftLeft(toUInt128(sipHash64(number)), 64), toUInt128(sipHash64(number, 1))), 'edge-bench', 'bench', \
         'bench@1.0.0+0123456789ab', 'live', number + 1, \
         toDateTime64(toStartOfMinute(now('UTC')), 3, 'UTC') - toIntervalMinute(20) + toIntervalMinute(number % {WINDOWS}) \
         FROM numbers({rows}) SETTINGS max_partitions_per_insert_block = 0"
    )
}

async fn until(stack: &Stack, query: &str, wanted: u64, started: Instant) -> Result<()> {
    loop {
        let found = stack.clickhouse.number(query).await.map_err(|e| anyhow!(e))?;
        if found >= wanted {
            return Ok(());
        }
        ensure!(started.elapsed() < LIMIT, "only {found} of {wanted} within {LIMIT:?}: {query}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
