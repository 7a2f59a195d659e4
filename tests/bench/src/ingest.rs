//! A running central from a filled stream to rows in hot ClickHouse, all on this machine, in turn with the engine's own inserts of the
//! same rows. Nothing is copied to cold meanwhile: `replication` measures that.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use marketprism_schema::WireForm;
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::pairs::{Pairs, Turn};
use marketprism_tests::stack::Stack;

use crate::sample::{self, Sample};
use crate::{edge, engine};

/// Limit for the last row.
const LIMIT: Duration = Duration::from_secs(180);

/// Interval of row counts; each costs the engine about 2 ms.
const LOOK: Duration = Duration::from_millis(50);

/// Rows left out at the end: a partial batch waits for its age.
const COUNTED: f64 = 0.95;

/// Part of the trades that a turn takes.
const TURN: u64 = 2;

/// No window is copied to cold.
const WITHOUT_COLD: &str = "[replication]\nsafety_lag_seconds = 86400\n";

/// CPU time of the engine for a book, with merges, against its insert alone.
const ENGINE_FOR_BOOKS: f64 = 1.5;

/// Central leaves its lease within this time.
const STOP: Duration = Duration::from_secs(20);

struct IngestLoad {
    sample: Sample,
    form: WireForm,
    /// Events in a message.
    per_message: u64,
    pairs: u64,
    goal: Option<Goal>,
}

const LOADS: [IngestLoad; 4] = [
    IngestLoad {
        sample: Sample::Trades,
        form: WireForm::Protobuf,
        per_message: 16,
        pairs: 20,
        goal: Some(Goal::AtLeast(0.7)),
    },
    IngestLoad { sample: Sample::Trades, form: WireForm::Protobuf, per_message: 1, pairs: 5, goal: None },
    IngestLoad { sample: Sample::Trades, form: WireForm::Json, per_message: 1, pairs: 5, goal: None },
    IngestLoad { sample: Sample::Books, form: WireForm::Protobuf, per_message: 1, pairs: 5, goal: None },
];

/// Trades and books in their wire forms.
pub async fn measure(report: &mut Report, trades: u64) -> Result<()> {
    for load in &LOADS {
        let events = match load.sample {
            Sample::Trades => trades / TURN,
            // Larger, but of several inserts.
            Sample::Books => trades / TURN / 10,
        };
        one(report, load, events.max(1)).await?;
    }
    copies(report, trades.max(1)).await
}

/// Cost of each event of a second edge. It groups them differently, so that the broker takes them.
async fn copies(report: &mut Report, events: u64) -> Result<()> {
    let mut stack = Stack::plain_with(WITHOUT_COLD).await;
    let url = stack.broker.url();
    let form = WireForm::Protobuf;
    sample::publish(&url, Sample::Trades, (form, 16), 1, events).await?;
    until_all(&stack, "SELECT count() FROM marketprism_hot.trades", events).await?;
    let before = cpu_times(&mut stack);
    sample::publish(&url, Sample::Trades, (form, 15), 1, events).await?;
    until_all(&stack, "SELECT uniqExact(event_id) FROM marketprism_hot.copied_events", events).await?;
    let after = cpu_times(&mut stack);
    let name = "ingest, trades of a second edge, 15 a message";
    for (part, (after, before)) in PARTS.into_iter().zip(after.into_iter().zip(before)) {
        let each = after.saturating_sub(before).as_secs_f64() / events as f64 * 1e6;
        report.figure(format!("{name}, CPU time of the {part}"), each, "us an event");
    }
    engine::execute(&stack.clickhouse, "OPTIMIZE TABLE marketprism_hot.copies FINAL").await?;
    let parts = "FROM system.parts WHERE active AND database = 'marketprism_hot' AND table = 'copies'";
    for (what, column) in [("bytes in hot", "bytes_on_disk"), ("rows in hot", "rows")] {
        let sum = stack.clickhouse.number(&format!("SELECT sum({column}) {parts}")).await;
        let each = sum.map_err(|e| anyhow!(e))? as f64 / events as f64;
        report.figure(format!("{name}, {what}"), each, "of each event");
    }
    Ok(())
}

async fn until_all(stack: &Stack, query: &str, events: u64) -> Result<()> {
    let started = Instant::now();
    loop {
        let found = stack.clickhouse.number(query).await.map_err(|e| anyhow!(e))?;
        if found >= events {
            return Ok(());
        }
        ensure!(started.elapsed() < LIMIT, "only {found} of {events} within {LIMIT:?}: {query}");
        tokio::time::sleep(LOOK).await;
    }
}

fn cpu_times(stack: &mut Stack) -> Used {
    let Stack { broker, central, clickhouse, .. } = stack;
    [broker.process().cpu_time(), central.process().cpu_time(), clickhouse.process().cpu_time()]
}

/// CPU time of each of [`PARTS`].
type Used = [Duration; 3];

const PARTS: [&str; 3] = ["broker", "central", "engine"];

/// Fills the stream while central is away, then measures from the first rows in hot almost to the last.
async fn one(report: &mut Report, load: &IngestLoad, events: u64) -> Result<()> {
    let mut stack = Stack::plain_with(WITHOUT_COLD).await;
    stack.central.process().terminate(STOP).await;
    let (mut pairs, mut used, mut files, mut resident) = (Pairs::default(), Used::default(), None, 0);
    let mut engine_alone = Duration::ZERO;
    for pair in 0..load.pairs {
        let url = stack.broker.url();
        sample::publish(&url, load.sample, (load.form, load.per_message), 1 + pair * events, events).await?;
        // The rows of the first turn are those that the engine inserts alone, before central's turn or after it.
        let before = match &files {
            Some(files) if pair % 2 == 1 => Some(alone(&mut stack, files, events).await?),
            _ => None,
        };
        let own = through(&mut stack, load.sample, pair * events, events, &mut used).await?;
        resident = resident.max(stack.central.process().resident_bytes());
        stack.central.process().terminate(STOP).await;
        if files.is_none() {
            let source = format!("marketprism_hot.{}", load.sample.table());
            let piece = load.sample.rows_an_insert();
            files = Some(engine::Files::export(&stack.clickhouse, &source, events, piece).await?);
        }
        let files = files.as_ref().context("exported above")?;
        let other = match before {
            Some(turn) => turn,
            None => alone(&mut stack, files, events).await?,
        };
        engine_alone += Duration::from_secs_f64(other.cpu);
        pairs.push(own, other);
    }
    let name = match load.per_message {
        1 => format!("ingest, {} as {}", load.sample.name(), load.form.content_type()),
        many => format!("ingest, {} as {}, {many} a message", load.sample.name(), load.form.content_type()),
    };
    let rate = |each: f64| 1.0 / each;
    let (own, other) = (pairs.left().context("no pair")?, pairs.right().context("no pair")?);
    report.figure(format!("{name}, stream to hot"), rate(own.median), "rows/s");
    report.figure(
        format!("{name}, the engine alone, inserts as large as central's"),
        rate(other.median),
        "rows/s",
    );
    report.spread(
        format!("{name} / the engine alone"),
        pairs.rates().context("no pair")?,
        "times",
        load.goal,
    );
    // On a machine that others use too these tell more than the wall clock.
    let all = events * load.pairs;
    for (part, time) in PARTS.into_iter().zip(used) {
        let each = time.as_secs_f64() / all as f64 * 1e6;
        report.figure(format!("{name}, CPU time of the {part}"), each, "us a row");
    }
    let alone = engine_alone.as_secs_f64() / load.pairs as f64;
    report.figure(format!("{name}, CPU time of the engine alone"), alone * 1e6, "us a row");
    let [.., engine] = used;
    let times = engine.as_secs_f64() / all as f64 / alone;
    let what = format!("{name}, CPU time of the engine with merges / alone");
    match load.sample {
        Sample::Trades => report.figure(what, times, "times"),
        Sample::Books => report.goal(what, times, "times", Goal::AtMost(ENGINE_FOR_BOOKS)),
    }
    let merged = "SELECT sum(value) FROM system.events WHERE event = 'MergedRows'";
    let merged = stack.clickhouse.number(merged).await.map_err(|e| anyhow!(e))?;
    report.figure(format!("{name}, rows merged"), merged as f64 / all as f64, "of each row");
    report.figure(format!("{name}, resident memory of central"), resident as f64 / 1e6, "MB");
    let taken = sample::take(&stack.broker.url(), load.sample, all.div_ceil(load.per_message)).await?;
    report.figure(
        format!("{name}, a bare consumer that only acknowledges"),
        edge::rate(all, taken),
        "events/s",
    );
    Ok(())
}

/// A turn of central.
async fn through(
    stack: &mut Stack,
    sample: Sample,
    stored: u64,
    events: u64,
    used: &mut Used,
) -> Result<Turn> {
    let before = [stack.broker.process().cpu_time(), Duration::ZERO, stack.clickhouse.process().cpu_time()];
    stack.central.start_without_waiting();
    let each = until_stored(stack, sample.table(), stored, events).await?;
    let after = cpu_times(stack);
    let mut all = Duration::ZERO;
    for ((used, after), before) in used.iter_mut().zip(after).zip(before) {
        *used += after.saturating_sub(before);
        all += after.saturating_sub(before);
    }
    Ok(Turn { wall: each, cpu: all.as_secs_f64() / events as f64 })
}

/// A turn of the engine: the same rows from files in Native format, in inserts of central's size.
async fn alone(stack: &mut Stack, files: &engine::Files, events: u64) -> Result<Turn> {
    let before = stack.clickhouse.process().cpu_time();
    let time = files.insert(&stack.clickhouse).await?;
    Ok(Turn::of(time, stack.clickhouse.process().cpu_time().saturating_sub(before), events))
}

/// Waits for all rows; gives the seconds a row from the first ones in hot, without the partial last batch.
async fn until_stored(stack: &Stack, table: &str, stored: u64, events: u64) -> Result<f64> {
    let query = format!("SELECT count() FROM marketprism_hot.{table}");
    let enough = (events as f64 * COUNTED) as u64;
    let (started, mut first, mut counted) = (Instant::now(), None, None);
    loop {
        let rows = stack.clickhouse.number(&query).await.map_err(|e| anyhow!(e))?.saturating_sub(stored);
        let at = started.elapsed();
        if rows > 0 && first.is_none() {
            first = Some((rows, at));
        }
        if rows >= enough && counted.is_none() {
            counted = Some((rows, at));
        }
        if let (true, Some((first, begun)), Some((counted, at))) = (rows >= events, first, counted) {
            ensure!(counted > first, "all {events} rows came at once: take more");
            return Ok(at.saturating_sub(begun).as_secs_f64() / (counted - first) as f64);
        }
        ensure!(at < LIMIT, "only {rows} of {events} rows within {LIMIT:?}");
        tokio::time::sleep(LOOK).await;
    }
}
