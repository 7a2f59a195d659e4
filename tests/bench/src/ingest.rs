//! A running central from a filled stream to rows in hot ClickHouse, all parts on this machine.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use marketprism_tests::stack::Stack;

use crate::bare;
use crate::edge::rate;
use crate::goal::{Goal, Report};

/// Longest wait for the last row.
const LIMIT: Duration = Duration::from_secs(180);

/// Fills the stream while central is down, then measures from central's start to the last row.
pub async fn measure(report: &mut Report, trades: u64) -> Result<()> {
    let mut stack = Stack::start().await;
    stack.central.kill();
    bare::publish(&stack.broker.url(), 1, trades).await?;
    let started = Instant::now();
    stack.central.start_without_waiting();
    let query = "SELECT count() FROM marketprism_hot.trades";
    loop {
        let rows = stack.clickhouse.number(query).await.map_err(|e| anyhow!(e))?;
        if rows >= trades {
            break;
        }
        ensure!(started.elapsed() < LIMIT, "only {rows} of {trades} rows within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rows_per_second = rate(trades, started.elapsed());
    report.goal(
        "ingest, stream to hot, start of central included",
        rows_per_second,
        "rows/s",
        Goal::AtLeast(50_000.0),
    );
    let resident = stack.central.process().resident_bytes() as f64 / 1e6;
    report.figure("central, resident memory after it", resident, "MB");
    Ok(())
}
