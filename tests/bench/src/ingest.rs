//! A running central from a filled stream to rows in hot ClickHouse, all parts on this machine, against what the engine takes by itself.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use marketprism_schema::WireForm;
use marketprism_tests::stack::Stack;

use crate::goal::{Goal, Report};
use crate::sample::Sample;
use crate::{bare, edge, engine};

/// Longest wait for the last row.
const LIMIT: Duration = Duration::from_secs(180);

/// The last rows do not count: a batch that is not full waits for its age.
const COUNTED: f64 = 0.95;

/// Trades and books in each wire form.
pub async fn measure(report: &mut Report, trades: u64) -> Result<()> {
    for form in WireForm::ALL {
        one(report, Sample::Trades, form, trades).await?;
    }
    // A book is about forty times as large.
    for form in WireForm::ALL {
        one(report, Sample::Books, form, (trades / 40).max(1)).await?;
    }
    Ok(())
}

/// Fills the stream while central is down, then measures from central's start to the rows.
async fn one(report: &mut Report, sample: Sample, form: WireForm, events: u64) -> Result<()> {
    let mut stack = Stack::start().await;
    stack.central.kill();
    bare::publish(&stack.broker.url(), sample, form, 1, events).await?;
    let before = [stack.broker.process().cpu_time(), Duration::ZERO, stack.clickhouse.process().cpu_time()];
    let started = Instant::now();
    stack.central.start_without_waiting();
    let (counted, time) = until_stored(&stack, sample.table(), events, started).await?;
    let processes = [stack.broker.process(), stack.central.process(), stack.clickhouse.process()];
    let used = processes.map(|process| process.cpu_time());
    let resident = stack.central.process().resident_bytes() as f64 / 1e6;
    stack.central.kill();
    let alone = engine::native_insert(&stack.clickhouse, "marketprism_hot", sample.table(), events).await?;
    let (through, alone) = (edge::rate(counted, time), edge::rate(events, alone));
    let name = format!("ingest, {} as {}", sample.name(), form.content_type());
    report.figure(format!("{name}, stream to hot, start of central included"), through, "rows/s");
    report.figure(format!("{name}, the same rows in Native format from a file"), alone, "rows/s");
    let ratio = format!("{name} / the engine alone");
    match sample {
        Sample::Trades => report.goal(ratio, through / alone, "times", Goal::AtLeast(0.5)),
        Sample::Books => report.figure(ratio, through / alone, "times"),
    }
    // On a machine that others use too these tell more than the wall clock.
    for (part, (after, before)) in
        ["broker", "central", "engine"].into_iter().zip(used.into_iter().zip(before))
    {
        let each = after.saturating_sub(before).as_secs_f64() / events as f64 * 1e6;
        report.figure(format!("{name}, processor time of the {part}"), each, "us a row");
    }
    report.figure(format!("central, resident memory after {}", sample.name()), resident, "MB");
    Ok(())
}

/// How many rows were there when all but the last few were, and how long that took.
async fn until_stored(stack: &Stack, table: &str, events: u64, started: Instant) -> Result<(u64, Duration)> {
    let query = format!("SELECT count() FROM marketprism_hot.{table}");
    let enough = (events as f64 * COUNTED) as u64;
    let mut counted = None;
    loop {
        let rows = stack.clickhouse.number(&query).await.map_err(|e| anyhow!(e))?;
        if rows >= enough && counted.is_none() {
            counted = Some((rows, started.elapsed()));
        }
        if let (true, Some(counted)) = (rows >= events, counted) {
            return Ok(counted);
        }
        ensure!(started.elapsed() < LIMIT, "only {rows} of {events} rows within {LIMIT:?}");
        // Each look costs the engine 2 ms.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
