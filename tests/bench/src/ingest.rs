//! A running central from a filled stream to rows in hot ClickHouse, all on this machine, in turn with the engine's own inserts of the
//! same rows. Nothing is copied to cold meanwhile: `replication` measures that.
//!
//! Both sides are warm in every turn: central runs on, and its consumer is paused while the stream fills and while the engine has its turn.
//! The start of a central, which compares tables and looks back, is a figure of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use async_nats::jetstream::stream::Stream;
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

/// Part of the trades that a turn takes, where the engine's share of a row is large.
const TURN: u64 = 2;

/// Longest pause of a consumer: it ends when the stream is full and the engine had its turn.
const PAUSE: Duration = Duration::from_secs(300);

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
        let events = match (load.sample, load.goal) {
            // A dozen inserts: the first one, and what is in flight at the end, weigh little.
            (Sample::Trades, Some(_)) => trades,
            (Sample::Trades, None) => trades / TURN,
            // Larger, but of several inserts.
            (Sample::Books, _) => trades / TURN / 10,
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

/// Fills the stream while its consumer is paused, then measures from the first rows in hot almost to the last.
async fn one(report: &mut Report, load: &IngestLoad, events: u64) -> Result<()> {
    let mut stack = Stack::plain_with(WITHOUT_COLD).await;
    let messages = Messages::open(&stack, load.sample).await?;
    let (mut pairs, mut used, mut files) = (Pairs::default(), Used::default(), None);
    let mut engine_alone = Duration::ZERO;
    for pair in 0..load.pairs {
        let url = stack.broker.url();
        messages.pause().await?;
        sample::publish(&url, load.sample, (load.form, load.per_message), 1 + pair * events, events).await?;
        // The rows of the first turn are those that the engine inserts alone, before central's turn or after it.
        let before = match &files {
            Some(files) if pair % 2 == 1 => Some(alone(&mut stack, files, events).await?),
            _ => None,
        };
        let own = through(&mut stack, &messages, pair * events, events, &mut used).await?;
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
    let resident = stack.central.process().resident_bytes();
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
    if load.goal.is_some() { restarted(report, &name, &mut stack, load, (all, events)).await } else { Ok(()) }
}

/// A central that starts beside a filled stream.
async fn restarted(
    report: &mut Report,
    name: &str,
    stack: &mut Stack,
    load: &IngestLoad,
    (stored, events): (u64, u64),
) -> Result<()> {
    stack.central.process().terminate(STOP).await;
    let form = (load.form, load.per_message);
    sample::publish(&stack.broker.url(), load.sample, form, 1 + stored, events).await?;
    let (before, started) = (stack.clickhouse.process().cpu_time(), Instant::now());
    stack.central.start_without_waiting();
    let query = format!("SELECT count() FROM marketprism_hot.{}", load.sample.table());
    for (what, rows) in [("first rows in hot", 1), ("all rows in hot", events)] {
        until_all(stack, &query, stored + rows).await?;
        report.figure(format!("{name}, {what} after a start"), started.elapsed().as_secs_f64(), "s");
    }
    let used = stack.clickhouse.process().cpu_time().saturating_sub(before).as_secs_f64();
    report.figure(format!("{name}, CPU time of the engine from a start to all rows"), used, "s");
    Ok(())
}

/// Central's messages of a table: held back at the broker while the consumer is paused.
struct Messages {
    stream: Stream,
    consumer: String,
    table: &'static str,
}

impl Messages {
    async fn open(stack: &Stack, sample: Sample) -> Result<Self> {
        let client = async_nats::connect(stack.broker.url()).await?;
        let stream = async_nats::jetstream::new(client).get_stream(sample.stream()).await?;
        let table = sample.table();
        Ok(Self { stream, consumer: format!("central-{table}"), table })
    }

    async fn pause(&self) -> Result<()> {
        let until = async_nats::datetime::add_std_duration(async_nats::datetime::now(), PAUSE);
        let until = until.map_err(|error| anyhow!(error))?;
        let answer = self.stream.pause_consumer(&self.consumer, until).await?;
        ensure!(answer.paused, "the broker did not pause {}", self.consumer);
        Ok(())
    }

    async fn resume(&self) -> Result<()> {
        self.stream.resume_consumer(&self.consumer).await?;
        Ok(())
    }
}

/// Merges of earlier inserts are of no turn, those of a turn's own belong to it.
async fn until_merged(stack: &Stack) -> Result<()> {
    let started = Instant::now();
    while stack.clickhouse.number("SELECT count() FROM system.merges").await.map_err(|e| anyhow!(e))? > 0 {
        ensure!(started.elapsed() < LIMIT, "merges go on for {LIMIT:?}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// A turn of central.
async fn through(
    stack: &mut Stack,
    messages: &Messages,
    stored: u64,
    events: u64,
    used: &mut Used,
) -> Result<Turn> {
    until_merged(stack).await?;
    let before = cpu_times(stack);
    messages.resume().await?;
    let each = until_stored(stack, messages.table, stored, events).await?;
    until_merged(stack).await?;
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
    until_merged(stack).await?;
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
