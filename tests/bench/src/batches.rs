//! Ways to publish events together, in turn on one broker: the edge's packed messages, atomic batches and fast ingest of nats-server, and a
//! message an event. Each event has an id, each way as many of them unacknowledged as it may.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt;
use marketprism_schema::WireForm;
use marketprism_tests::broker::Broker;
use marketprism_tests::figures::Report;
use marketprism_tests::pairs::{Pairs, Turn};
use serde_json::Value;

use crate::sample::{self, Sample};

const ROUNDS: u64 = 12;
const STREAM: &str = "BATCHES";
/// Events of a packed message and of an atomic batch.
const TOGETHER: u64 = 16;
/// Atomic batches without an acknowledgement; nats-server allows 50 a stream.
const BATCHES_IN_FLIGHT: usize = 48;
/// Messages for which nats-server sends one acknowledgement, at most, and acknowledgements to wait for.
const FLOW: u64 = 1_000;
const FLOWS_IN_FLIGHT: u64 = 3;
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BatchWay {
    Alone,
    Packed,
    Atomic,
    Fast,
}

impl BatchWay {
    const ALL: [Self; 4] = [Self::Alone, Self::Packed, Self::Atomic, Self::Fast];

    const fn name(self) -> &'static str {
        match self {
            Self::Alone => "a message an event",
            Self::Packed => "packed messages",
            Self::Atomic => "atomic batches",
            Self::Fast => "fast ingest",
        }
    }
}

pub async fn measure(report: &mut Report, trades: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut broker = Broker::start(folder.path()).await;
    let client = async_nats::connect(broker.url()).await?;
    let subject = Sample::Trades.subject()?;
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![subject.clone()],
        allow_atomic_publish: true,
        allow_batch_publish: true,
        ..stream::Config::default()
    };
    let mut stored = jetstream::new(client.clone()).create_stream(config).await?;
    let events = (trades / ROUNDS).max(TOGETHER);
    let [mut packed, mut atomic, mut fast] = [(); 3].map(|()| Pairs::default());
    let mut bytes = [0.0; BatchWay::ALL.len()];
    for round in 0..ROUNDS {
        let mut turns = [None; BatchWay::ALL.len()];
        for place in 0..BatchWay::ALL.len() {
            let index = (place + usize::try_from(round)?) % BatchWay::ALL.len();
            let way = BatchWay::ALL.get(index).copied().context("a way")?;
            let first = 1 + (round * BatchWay::ALL.len() as u64 + index as u64) * events;
            let cpu = broker.process().cpu_time();
            let time = publish(&client, way, &subject, first..first + events).await?;
            let cpu = broker.process().cpu_time().saturating_sub(cpu);
            *turns.get_mut(index).context("a turn")? = Some(Turn::of(time, cpu, events));
            let state = &stored.info().await?.state;
            let messages = if way == BatchWay::Packed { events.div_ceil(TOGETHER) } else { events };
            ensure!(state.messages == messages, "{}: {} messages of {messages}", way.name(), state.messages);
            *bytes.get_mut(index).context("bytes")? = state.bytes as f64 / events as f64;
            stored.purge().await?;
        }
        let [Some(alone), Some(of_packed), Some(of_atomic), Some(of_fast)] = turns else {
            bail!("a turn is missing")
        };
        packed.push(of_packed, alone);
        atomic.push(of_atomic, alone);
        fast.push(of_fast, alone);
    }
    let pairs = "no pair";
    let alone = packed.right().context(pairs)?;
    report.figure("batches, a message an event".to_owned(), 1.0 / alone.median, "events/s");
    for (way, pairs_of) in [(BatchWay::Packed, packed), (BatchWay::Atomic, atomic), (BatchWay::Fast, fast)] {
        let name = format!("batches, {} / a message an event", way.name());
        report.spread(format!("{name}, events/s"), pairs_of.rates().context(pairs)?, "times", None);
        report.figure(format!("{name}, broker's CPU time an event"), pairs_of.cpu_times(), "times");
    }
    for (way, bytes) in BatchWay::ALL.into_iter().zip(bytes) {
        report.figure(format!("batches, {}, stored", way.name()), bytes, "bytes an event");
    }
    Ok(())
}

/// Time from the first publish to the last acknowledgement.
async fn publish(
    client: &Client,
    way: BatchWay,
    subject: &str,
    numbers: std::ops::Range<u64>,
) -> Result<Duration> {
    let (first, events) = (numbers.start, numbers.end - numbers.start);
    let started = Instant::now();
    match way {
        BatchWay::Alone => {
            sample::publish_on(client, Sample::Trades, (WireForm::Protobuf, 1), first, events).await
        }
        BatchWay::Packed => {
            sample::publish_on(client, Sample::Trades, (WireForm::Protobuf, TOGETHER), first, events).await
        }
        BatchWay::Atomic => atomic(client, subject, numbers).await.map(|()| started.elapsed()),
        BatchWay::Fast => fast(client, subject, numbers).await.map(|()| started.elapsed()),
    }
}

fn message(number: u64) -> Result<(HeaderMap, Vec<u8>)> {
    let (id, payload) = sample::message(Sample::Trades, WireForm::Protobuf, number..number + 1)?;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id.to_string());
    Ok((headers, payload))
}

/// The last message of a batch commits it, and is the one that is acknowledged.
async fn atomic(client: &Client, subject: &str, numbers: std::ops::Range<u64>) -> Result<()> {
    let context = jetstream::new(client.clone());
    let mut acks: VecDeque<PublishAckFuture> = VecDeque::with_capacity(BATCHES_IN_FLIGHT);
    let mut next = numbers.start;
    while next < numbers.end {
        let end = numbers.end.min(next + TOGETHER);
        let batch = next.to_string();
        for number in next..end {
            let (mut headers, payload) = message(number)?;
            headers.insert("Nats-Batch-Id", batch.as_str());
            headers.insert("Nats-Batch-Sequence", (number - next + 1).to_string());
            if number + 1 == end {
                headers.insert("Nats-Batch-Commit", "1");
                acks.push_back(
                    context.publish_with_headers(subject.to_owned(), headers, payload.into()).await?,
                );
            } else {
                client.publish_with_headers(subject.to_owned(), headers, payload.into()).await?;
            }
        }
        next = end;
        while acks.len() >= BATCHES_IN_FLIGHT {
            acks.pop_front().context("a batch in flight")?.await?;
        }
    }
    for ack in acks {
        ack.await?;
    }
    Ok(())
}

/// One batch; the reply subject of a message says its place in it. The broker acknowledges some messages at a time.
async fn fast(client: &Client, subject: &str, numbers: std::ops::Range<u64>) -> Result<()> {
    const START: u8 = 0;
    const APPEND: u8 = 1;
    const COMMIT: u8 = 2;
    let inbox = format!("_INBOX.fast{}", numbers.start);
    let mut replies = client.subscribe(format!("{inbox}.>")).await?;
    let (mut acknowledged, mut flow) = (0_u64, 1_u64);
    let last = numbers.end - numbers.start;
    for (place, number) in (1..).zip(numbers) {
        while place > 1 && acknowledged + flow * FLOWS_IN_FLIGHT <= place {
            let reply = tokio::time::timeout(LIMIT, replies.next()).await?.context("replies end")?;
            let reply: Value = serde_json::from_slice(&reply.payload)?;
            ensure!(is_flow(&reply), "fast ingest: {reply}");
            acknowledged = field(&reply, "seq").context("seq")?.max(acknowledged);
            flow = field(&reply, "msgs").context("msgs")?.max(1);
        }
        let operation = match place {
            _ if place == last => COMMIT,
            1 => START,
            _ => APPEND,
        };
        let reply = format!("{inbox}.{FLOW}.fail.{place}.{operation}.$FI");
        let (headers, payload) = message(number)?;
        client.publish_with_reply_and_headers(subject.to_owned(), reply, headers, payload.into()).await?;
    }
    loop {
        let reply = tokio::time::timeout(LIMIT, replies.next()).await?.context("replies end")?;
        let reply: Value = serde_json::from_slice(&reply.payload)?;
        if field(&reply, "count") == Some(last) {
            return Ok(());
        }
        ensure!(is_flow(&reply), "fast ingest of {last} messages: {reply}");
    }
}

/// An acknowledgement of a part of the batch.
fn is_flow(reply: &Value) -> bool {
    reply.get("type").is_some_and(|kind| kind == "ack")
}

fn field(reply: &Value, key: &str) -> Option<u64> {
    reply.get(key).and_then(Value::as_u64)
}
