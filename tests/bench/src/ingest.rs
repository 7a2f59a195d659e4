//! A running central from a filled stream to rows in hot ClickHouse, all on this machine, relative to the engine's limit.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use marketprism_schema::WireForm;
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::stack::Stack;

use crate::sample::{self, Sample};
use crate::{edge, engine};

/// Limit for the last row.
const LIMIT: Duration = Duration::from_secs(180);

/// Interval of row counts; each costs the engine about 2 ms.
const LOOK: Duration = Duration::from_millis(100);

/// Rows left out at the end: a partial batch waits for its age.
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

/// Fills the stream while central is down, then measures from the first rows in hot almost to the last.
async fn one(report: &mut Report, sample: Sample, form: WireForm, events: u64) -> Result<()> {
    let mut stack = Stack::plain().await;
    stack.central.kill();
    sample::publish(&stack.broker.url(), sample, form, 1, events).await?;
    let before = [stack.broker.process().cpu_time(), Duration::ZERO, stack.clickhouse.process().cpu_time()];
    let started = Instant::now();
    stack.central.start_without_waiting();
    let run = until_stored(&stack, sample.table(), events, started).await?;
    let processes = [stack.broker.process(), stack.central.process(), stack.clickhouse.process()];
    let used = processes.map(|process| process.cpu_time());
    let resident = stack.central.process().resident_bytes() as f64 / 1e6;
    stack.central.kill();
    let name = format!("ingest, {} as {}", sample.name(), form.content_type());
    report.figure(format!("{name}, stream to hot"), run.steady, "rows/s");
    report.figure(format!("{name}, stream to hot, start of central included"), run.with_start, "rows/s");
    alone(report, &name, &mut stack, sample, events, run.steady).await?;
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

/// The engine with the same rows from files in Native format, in inserts of central's size and in one; and a consumer that only
/// acknowledges: the upper bounds for a central here.
async fn alone(
    report: &mut Report,
    name: &str,
    stack: &mut Stack,
    sample: Sample,
    events: u64,
    through: f64,
) -> Result<()> {
    let source = format!("marketprism_hot.{}", sample.table());
    for (piece, said) in [(sample.rows_an_insert(), "inserts as large as central's"), (events, "one insert")]
    {
        let files = engine::Files::export(&stack.clickhouse, &source, events, piece).await?;
        let alone = files.insert_best(&mut stack.clickhouse).await?;
        let limit = edge::rate(events, alone.time);
        let each = alone.processor.as_secs_f64() / events as f64 * 1e6;
        report.figure(format!("{name}, the engine alone, {said}, its processor time"), each, "us a row");
        report.figure(format!("{name}, the engine alone, Native files, {said}"), limit, "rows/s");
        let ratio = format!("{name} / the engine alone, {said}");
        if piece == events {
            report.figure(ratio, through / limit, "times");
            continue;
        }
        if sample == Sample::Trades {
            report.goal(ratio, through / limit, "times", Goal::AtLeast(0.5));
        } else {
            report.figure(ratio, through / limit, "times");
        }
        let url = stack.broker.url();
        let bare = sample::take(&url, sample, events).await?;
        report.figure(format!("{name}, a bare consumer alone"), edge::rate(events, bare), "messages/s");
        let (inserted, taken) =
            tokio::try_join!(files.insert(&stack.clickhouse), sample::take(&url, sample, events))?;
        let beside = edge::rate(events, inserted.max(taken));
        report.figure(format!("{name}, a bare consumer beside the engine's inserts"), beside, "rows/s");
        report.figure(
            format!("{name} / a bare consumer beside the engine's inserts"),
            through / beside,
            "times",
        );
    }
    Ok(())
}

/// Rows per second.
struct Run {
    /// From the first rows seen in hot.
    steady: f64,
    with_start: f64,
}

/// Waits for all rows, without the partial last batch.
async fn until_stored(stack: &Stack, table: &str, events: u64, started: Instant) -> Result<Run> {
    let query = format!("SELECT count() FROM marketprism_hot.{table}");
    let enough = (events as f64 * COUNTED) as u64;
    let (mut first, mut counted) = (None, None);
    loop {
        let rows = stack.clickhouse.number(&query).await.map_err(|e| anyhow!(e))?;
        let at = started.elapsed();
        if rows > 0 && first.is_none() {
            first = Some((rows, at));
        }
        if rows >= enough && counted.is_none() {
            counted = Some((rows, at));
        }
        if let (true, Some((first, begun)), Some((counted, at))) = (rows >= events, first, counted) {
            ensure!(counted > first, "all {events} rows came at once: take more");
            return Ok(Run {
                steady: edge::rate(counted - first, at.saturating_sub(begun)),
                with_start: edge::rate(counted, at),
            });
        }
        ensure!(at < LIMIT, "only {rows} of {events} rows within {LIMIT:?}");
        tokio::time::sleep(LOOK).await;
    }
}
