//! A publisher on a real nats-server.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{self, consumer, stream};
use bytes::Bytes;
use futures_util::StreamExt;
use marketprism_config::Nats;
use marketprism_edge::audit::{AuditStream, Auditor};
use marketprism_edge::broker::{BrokerLink, connect};
use marketprism_edge::config::{MirrorSettings, PublisherLimits};
use marketprism_edge::publisher::{DrainResult, Publisher};
use marketprism_edge::queue::{EventQueue, EventRecord, MemoryQueue, QueueLane, QueueLimits};
use marketprism_edge::telemetry::{Coverage, Metrics};
use marketprism_schema::{DataType, EventId, WireForm};
use marketprism_tests::broker::Broker;
use marketprism_tests::wait::eventually;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const STREAM: &str = "MARKET_DATA";

pub struct Publishing {
    pub client: Client,
    pub link: Arc<BrokerLink>,
    pub queue: Arc<MemoryQueue>,
    pub auditor: Arc<Auditor>,
    pub metrics: Metrics,
    pub coverage: Arc<Coverage>,
    pub mirror: watch::Sender<MirrorSettings>,
    pub stop: CancellationToken,
    pub task: JoinHandle<anyhow::Result<DrainResult>>,
}

pub fn limits() -> PublisherLimits {
    PublisherLimits {
        in_flight_messages: 256,
        in_flight_bytes: 1 << 20,
        linger: Duration::ZERO,
        batch_events: 256,
        ack_timeout: Duration::from_secs(2),
        queue_messages: 100_000,
        queue_bytes: 64 << 20,
    }
}

pub async fn publish(
    url: &str,
    limits: PublisherLimits,
    auditor: Arc<Auditor>,
    drain: Duration,
) -> Publishing {
    let bounds = QueueLimits { messages: limits.queue_messages as u64, bytes: limits.queue_bytes as u64 };
    // A small queue is there to overflow.
    let wait = Duration::from_millis(if limits.queue_messages < 1_000 { 1 } else { 2_000 });
    let queue = Arc::new(MemoryQueue::with_room_wait(bounds, Arc::clone(&auditor), wait));
    publish_queue(url, limits, auditor, drain, queue).await
}

pub async fn publish_queue(
    url: &str,
    limits: PublisherLimits,
    auditor: Arc<Auditor>,
    drain: Duration,
    queue: Arc<MemoryQueue>,
) -> Publishing {
    publish_to(&nats(url), limits, auditor, drain, queue).await
}

pub fn nats(url: &str) -> Nats {
    Nats { urls: vec![url.into()], connect_timeout: Duration::from_secs(2), ..Nats::default() }
}

pub async fn publish_to(
    nats: &Nats,
    limits: PublisherLimits,
    auditor: Arc<Auditor>,
    drain: Duration,
    queue: Arc<MemoryQueue>,
) -> Publishing {
    let (metrics, coverage) = (Metrics::new().unwrap(), Arc::new(Coverage::default()));
    let (client, link) = connect(nats, "test").await.unwrap();
    let mirror = watch::Sender::new(MirrorSettings::default());
    let publisher = Publisher::new(
        client.clone(),
        Arc::clone(&link),
        Arc::clone(&queue) as Arc<dyn EventQueue>,
        Arc::clone(&coverage),
        Arc::clone(&auditor),
        metrics.clone(),
        limits,
    )
    .with_mirror(mirror.subscribe());
    let stop = CancellationToken::new();
    let task = tokio::spawn(publisher.run(stop.clone(), drain));
    Publishing { client, link, queue, auditor, metrics, coverage, mirror, stop, task }
}

/// Appends `count` records a hundred at a time while the broker is killed twice, then ends the publisher: nothing may be left.
pub async fn publish_through_kills(
    broker: &mut Broker,
    edge: &mut Publishing,
    count: u64,
    records: impl Fn(&Coverage, Range<u64>) -> Vec<EventRecord> + Send + 'static,
) {
    let (queue, coverage) = (Arc::clone(&edge.queue), Arc::clone(&edge.coverage));
    let writer = tokio::task::spawn_blocking(move || {
        for first in (0..count).step_by(100) {
            queue.append(QueueLane::default(), &mut records(&coverage, first..first + 100));
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    for share in [count / 4, count / 2] {
        eventually("a share is confirmed", || async { edge.queue.status().confirmed > share }).await;
        broker.kill();
        broker.restart().await;
    }
    writer.await.unwrap();
    eventually("the kills are noticed", || async { edge.link.connects() >= 3 }).await;
    edge.stop.cancel();
    assert_eq!((&mut edge.task).await.unwrap().unwrap(), DrainResult { undelivered: 0 });
}

/// A trade of about 250 bytes.
pub fn record(
    symbol: &str,
    id: u128,
    stream: Option<AuditStream>,
    received_at_ns: i64,
    coverage: &Coverage,
) -> EventRecord {
    let filler = "x".repeat(200);
    EventRecord {
        subject: format!("trade.sim_spot.spot.{symbol}").into(),
        event_id: EventId(id),
        data_type: DataType::Trade,
        form: WireForm::Json,
        coverage: coverage.row("sim_spot", DataType::Trade),
        stream,
        sequence: None,
        received_at_ns,
        timestamp_us: received_at_ns / 1_000,
        payload: Bytes::from(format!(
            "{{\"event_id\":\"{}\",\"received_at\":{received_at_ns},\"filler\":\"{filler}\"}}",
            EventId(id)
        )),
        journal: None,
        is_resend: false,
    }
}

/// A broker with the stream of trades, and its folder.
pub async fn broker_with_stream() -> (TempDir, Broker) {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    create_stream(&broker.url(), STREAM, "trade.>").await;
    (folder, broker)
}

pub async fn create_stream(url: &str, name: &str, subjects: &str) {
    let config = stream::Config {
        name: name.to_owned(),
        subjects: vec![subjects.to_owned()],
        duplicate_window: Duration::from_secs(120),
        ..Default::default()
    };
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    context.create_stream(config).await.unwrap();
}

/// All messages of a stream, in order.
pub async fn messages(url: &str, stream: &str) -> Vec<jetstream::Message> {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    let mut stream = context.get_stream(stream).await.unwrap();
    let count = stream.info().await.unwrap().state.messages;
    let config = consumer::pull::Config { ack_policy: consumer::AckPolicy::None, ..Default::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut incoming = consumer.messages().await.unwrap();
    let mut all = Vec::new();
    while (all.len() as u64) < count {
        all.push(incoming.next().await.unwrap().unwrap());
    }
    all
}

pub fn header<'a>(message: &'a jetstream::Message, name: &str) -> &'a str {
    message.headers.as_ref().unwrap().get(name).unwrap().as_str()
}

pub fn event_id(message: &jetstream::Message) -> EventId {
    let payload: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    EventId::parse(payload["event_id"].as_str().unwrap()).unwrap()
}
