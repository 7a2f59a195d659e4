//! A running central from a filled stream to rows in hot ClickHouse, in turn with the engine's own inserts of the same rows, with central's settings and
//! tokens, into a table like hot's. Both tables of trades keep their rows, so both sides merge; the engine's table of books is emptied after each turn.
//! Both sides are warm in every turn. Nothing is copied to cold meanwhile: `replication` measures that.

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

/// Interval at which the broker is asked for acknowledged messages.
const LOOK: Duration = Duration::from_millis(20);

/// Interval of queries; each costs the engine about 2 ms.
const QUERY: Duration = Duration::from_millis(250);

/// Interval at which the broker is asked for the first delivery.
const DELIVERY_LOOK: Duration = Duration::from_millis(2);

/// Inserts at the end that are not timed: a partial batch waits for its age.
const LAST_INSERTS: u64 = 2;

/// Books are larger than trades, and a turn has fewer.
const BOOKS: u64 = 10;

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

impl IngestLoad {
    fn name(&self) -> String {
        let (sample, form) = (self.sample.name(), self.form.content_type());
        match self.per_message {
            1 => format!("ingest, {sample} as {form}"),
            many => format!("ingest, {sample} as {form}, {many} a message"),
        }
    }
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
            // A dozen inserts and more: those before the first acknowledgement, and what is in flight at the end, weigh little.
            (Sample::Trades, Some(_)) => 3 * trades,
            (Sample::Trades, None) => 2 * trades,
            (Sample::Books, _) => trades / BOOKS,
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
    engine::reaches(&stack.clickhouse, query, events, (QUERY, LIMIT)).await
}

fn cpu_times(stack: &mut Stack) -> Used {
    let Stack { broker, central, clickhouse, .. } = stack;
    [broker.process().cpu_time(), central.process().cpu_time(), clickhouse.process().cpu_time()]
}

/// CPU time of each of [`PARTS`].
type Used = [Duration; 3];

const PARTS: [&str; 3] = ["broker", "central", "engine"];

/// Times of the turns of both sides.
#[derive(Default)]
struct Turns {
    pairs: Pairs,
    /// By central's turns.
    used: Used,
    /// From the end of the pauses to the first deliveries.
    waited: Duration,
    /// Rows merged in central's turns and in those of the engine.
    merged: [u64; 2],
}

/// Fills the stream while its consumer is paused, then measures from the first delivery almost to the last row.
async fn one(report: &mut Report, load: &IngestLoad, events: u64) -> Result<()> {
    let mut stack = Stack::plain_with(WITHOUT_COLD).await;
    let mut messages = Messages::open(&stack, load).await?;
    let source = format!("marketprism_hot.{}", load.sample.table());
    let alike = engine::TableLike::create(&stack.clickhouse, &source, load.sample == Sample::Trades).await?;
    let (mut turns, mut rows) = (Turns::default(), None);
    for turn in 0..=load.pairs {
        let url = stack.broker.url();
        messages.pause().await?;
        sample::publish(&url, load.sample, (load.form, load.per_message), 1 + turn * events, events).await?;
        // The engine inserts the rows of the turn before. The first turn of central only gives them.
        match &rows {
            None => {
                through(&mut stack, &mut messages, events, &mut Turns::default()).await?;
            }
            Some(rows) if turn % 2 == 0 => {
                let other = alone(&mut stack, &alike, rows, events, &mut turns).await?;
                let own = through(&mut stack, &mut messages, events, &mut turns).await?;
                turns.pairs.push(own, other);
            }
            Some(rows) => {
                let own = through(&mut stack, &mut messages, events, &mut turns).await?;
                let other = alone(&mut stack, &alike, rows, events, &mut turns).await?;
                turns.pairs.push(own, other);
            }
        }
        let (first, last) = (messages.stored - events.div_ceil(load.per_message), messages.stored);
        let piece = load.sample.rows_an_insert() / load.per_message;
        rows = Some(engine::Blocks::export(&stack.clickhouse, &source, first..last, piece).await?);
    }
    let Turns { pairs, used, waited, merged } = turns;
    let resident = stack.central.process().resident_bytes();
    let name = load.name();
    let rate = |each: f64| 1.0 / each;
    let (own, other) = (pairs.left().context("no pair")?, pairs.right().context("no pair")?);
    report.figure(format!("{name}, stream to hot"), rate(own.median), "rows/s");
    report.figure(format!("{name}, the engine alone, the same inserts"), rate(other.median), "rows/s");
    report.spread(
        format!("{name} / the engine alone"),
        pairs.rates().context("no pair")?,
        "times",
        load.goal,
    );
    // On a shared machine these are steadier than the wall clock.
    let all = events * load.pairs;
    for (part, time) in PARTS.into_iter().zip(used) {
        let each = time.as_secs_f64() / all as f64 * 1e6;
        report.figure(format!("{name}, CPU time of the {part}"), each, "us a row");
    }
    let alone = pairs.right_cpu();
    report.figure(format!("{name}, CPU time of the engine alone"), alone * 1e6, "us a row");
    report.figure(format!("{name}, CPU time of all / the engine alone"), pairs.cpu_times(), "times");
    let [.., engine] = used;
    let times = engine.as_secs_f64() / all as f64 / alone;
    let what = format!("{name}, CPU time of the engine with merges / alone");
    match load.sample {
        Sample::Trades => report.figure(what, times, "times"),
        Sample::Books => report.goal(what, times, "times", Goal::AtMost(ENGINE_FOR_BOOKS)),
    }
    for (merged, side) in merged.into_iter().zip(["", " by the engine alone"]) {
        let each = merged as f64 / all as f64;
        report.figure(format!("{name}, rows merged{side}"), each, "of each row");
    }
    let each = waited.as_secs_f64() / load.pairs as f64;
    report.figure(format!("{name}, end of the consumer's pause to the first delivery"), each, "s");
    report.figure(format!("{name}, resident memory of central"), resident as f64 / 1e6, "MB");
    let stored = all + events;
    let taken = sample::take(&stack.broker.url(), load.sample, messages.stored).await?;
    report.figure(
        format!("{name}, a bare consumer that only acknowledges"),
        edge::rate(stored, taken),
        "events/s",
    );
    if load.goal.is_some() {
        restarted(report, &name, &mut stack, load, (stored, events)).await
    } else {
        Ok(())
    }
}

/// A central that starts on a filled stream.
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
    count: String,
    per_message: u64,
    rows_an_insert: u64,
    /// Sequence of the last message that is stored.
    stored: u64,
    /// Rows of all turns so far.
    rows: u64,
}

impl Messages {
    async fn open(stack: &Stack, load: &IngestLoad) -> Result<Self> {
        let client = async_nats::connect(stack.broker.url()).await?;
        let stream = async_nats::jetstream::new(client).get_stream(load.sample.stream()).await?;
        let table = load.sample.table();
        let count = format!("SELECT count() FROM marketprism_hot.{table}");
        let consumer = format!("central-{table}");
        let (per_message, rows_an_insert) = (load.per_message, load.sample.rows_an_insert());
        Ok(Self { stream, consumer, count, per_message, rows_an_insert, stored: 0, rows: 0 })
    }

    /// Sequence of the last message that was delivered.
    async fn delivered(&self) -> Result<u64> {
        Ok(self.stream.consumer_info(&self.consumer).await?.delivered.stream_sequence)
    }

    /// Sequence of the last message before which all are stored.
    async fn acknowledged(&self) -> Result<u64> {
        Ok(self.stream.consumer_info(&self.consumer).await?.ack_floor.stream_sequence)
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
        tokio::time::sleep(QUERY).await;
    }
    Ok(())
}

async fn rows_merged(stack: &Stack) -> Result<u64> {
    let query = "SELECT sum(value) FROM system.events WHERE event = 'MergedRows'";
    stack.clickhouse.number(query).await.map_err(|e| anyhow!(e))
}

/// A turn of central.
async fn through(stack: &mut Stack, messages: &mut Messages, events: u64, turns: &mut Turns) -> Result<Turn> {
    until_merged(stack).await?;
    let (before, merged) = (cpu_times(stack), rows_merged(stack).await?);
    messages.resume().await?;
    let (each, waited) = until_stored(messages, events).await?;
    turns.waited += waited;
    until_merged(stack).await?;
    let after = cpu_times(stack);
    turns.merged[0] += rows_merged(stack).await?.saturating_sub(merged);
    let mut all = Duration::ZERO;
    for ((used, after), before) in turns.used.iter_mut().zip(after).zip(before) {
        *used += after.saturating_sub(before);
        all += after.saturating_sub(before);
    }
    messages.rows += events;
    let stored = stack.clickhouse.number(&messages.count).await.map_err(|e| anyhow!(e))?;
    ensure!(stored == messages.rows, "{stored} rows are in hot, sent were {}", messages.rows);
    Ok(Turn { wall: each, cpu: all.as_secs_f64() / events as f64 })
}

/// A turn of the engine.
async fn alone(
    stack: &mut Stack,
    alike: &engine::TableLike,
    rows: &engine::Blocks,
    events: u64,
    turns: &mut Turns,
) -> Result<Turn> {
    until_merged(stack).await?;
    let (before, merged) = (stack.clickhouse.process().cpu_time(), rows_merged(stack).await?);
    let time = alike.insert(&stack.clickhouse, rows, events).await?;
    until_merged(stack).await?;
    let used = stack.clickhouse.process().cpu_time().saturating_sub(before);
    turns.merged[1] += rows_merged(stack).await?.saturating_sub(merged);
    alike.end_turn(&stack.clickhouse).await?;
    Ok(Turn::of(time, used, events))
}

/// Waits for all rows; gives the seconds a row from the first delivery on, without the last inserts, and the time until that delivery.
async fn until_stored(messages: &mut Messages, events: u64) -> Result<(f64, Duration)> {
    let resumed = Instant::now();
    while messages.delivered().await? <= messages.stored {
        ensure!(resumed.elapsed() < LIMIT, "nothing is delivered within {LIMIT:?}");
        tokio::time::sleep(DELIVERY_LOOK).await;
    }
    let waited = resumed.elapsed();
    let enough = events.saturating_sub(LAST_INSERTS * messages.rows_an_insert).max(events / 2);
    let (started, mut counted) = (Instant::now(), None);
    loop {
        let acknowledged = messages.acknowledged().await?;
        let rows = events.min(acknowledged.saturating_sub(messages.stored) * messages.per_message);
        let at = started.elapsed();
        if rows >= enough && counted.is_none() {
            counted = Some(at.as_secs_f64() / rows as f64);
        }
        if let (true, Some(each)) = (rows >= events, counted) {
            messages.stored = acknowledged;
            return Ok((each, waited));
        }
        ensure!(at < LIMIT, "only {rows} of {events} rows within {LIMIT:?}");
        tokio::time::sleep(LOOK).await;
    }
}
