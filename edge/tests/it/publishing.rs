//! Every event that enters the journal is in the stream once, whatever the broker does meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use bytes::Bytes;
use marketprism_config::{Nats, NatsAuthentication};
use marketprism_edge::audit::{Auditor, NO_STREAM};
use marketprism_edge::broker::{BrokerLink, connect};
use marketprism_edge::config::PublisherLimits;
use marketprism_edge::publisher::{DrainResult, Publisher};
use marketprism_edge::queue::{EventQueue, MemoryQueue, QueueLimits, Record};
use marketprism_edge::telemetry::Coverage;
use marketprism_edge::telemetry::Metrics;
use marketprism_schema::{DataType, EventId, WireForm};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::nats_server::{NatsServer, binary};

const SUBJECT: &str = "trade.sim_spot.spot.A-B";
const STREAM: &str = "MARKET_DATA";

struct Setup {
    journal: Arc<MemoryQueue>,
    metrics: Metrics,
    coverage: Arc<Coverage>,
    link: Arc<BrokerLink>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<DrainResult>>,
}

fn limits() -> PublisherLimits {
    PublisherLimits {
        in_flight_messages: 256,
        in_flight_bytes: 1 << 20,
        ack_timeout: Duration::from_secs(2),
        queue_messages: 100_000,
        queue_bytes: 64 << 20,
    }
}

async fn publisher(url: &str, limits: PublisherLimits, drain: Duration) -> Setup {
    let nats = Nats {
        urls: vec![url.to_owned()],
        tls_required: false,
        ca_file: None,
        client_certificate: None,
        authentication: NatsAuthentication::Anonymous,
        connect_timeout: Duration::from_secs(2),
    };
    let bounds = QueueLimits { messages: limits.queue_messages as u64, bytes: limits.queue_bytes as u64 };
    let auditor = Arc::new(Auditor::off());
    let journal = Arc::new(MemoryQueue::new(bounds, Arc::clone(&auditor)));
    let (metrics, coverage) = (Metrics::new().unwrap(), Arc::new(Coverage::default()));
    coverage.row("sim_spot", DataType::Trade);
    let (client, link) = connect(&nats, "test").await.unwrap();
    let publisher = Publisher::new(
        client,
        Arc::clone(&link),
        Arc::clone(&journal) as Arc<dyn EventQueue>,
        Arc::clone(&coverage),
        auditor,
        metrics.clone(),
        limits,
    );
    let stop = CancellationToken::new();
    let task = tokio::spawn(publisher.run(stop.clone(), drain));
    Setup { journal, metrics, coverage, link, stop, task }
}

fn records(ids: std::ops::Range<u64>) -> Vec<Record> {
    let record = |id: u64| Record {
        subject: SUBJECT.into(),
        event_id: EventId(u128::from(id)),
        data_type: DataType::Trade,
        form: WireForm::Json,
        coverage: 0,
        stream: NO_STREAM,
        sequence: None,
        received_at_ns: 1,
        timestamp_us: 0,
        payload: Bytes::from(format!("{{\"id\":{id},\"filler\":\"{}\"}}", "x".repeat(220))),
    };
    ids.map(record).collect()
}

async fn create_stream(url: &str) -> jetstream::stream::Stream {
    let client = async_nats::connect(url).await.unwrap();
    let config = jetstream::stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["trade.>".to_owned()],
        duplicate_window: Duration::from_secs(120),
        ..Default::default()
    };
    jetstream::new(client).create_stream(config).await.unwrap()
}

async fn until(what: &str, seconds: u64, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !done().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads the ids of all messages, in stream order.
async fn stored_ids(url: &str) -> Vec<u64> {
    let client = async_nats::connect(url).await.unwrap();
    let mut stream = jetstream::new(client).get_stream(STREAM).await.unwrap();
    let count = stream.info().await.unwrap().state.messages;
    let consumer = stream
        .create_consumer(jetstream::consumer::pull::Config {
            ack_policy: jetstream::consumer::AckPolicy::None,
            ..Default::default()
        })
        .await
        .unwrap();
    let mut ids = Vec::new();
    let mut messages = consumer.messages().await.unwrap();
    while (ids.len() as u64) < count {
        let message = futures_util::StreamExt::next(&mut messages).await.unwrap().unwrap();
        let headers = message.headers.as_ref().unwrap();
        assert_eq!(headers.get("Content-Type").unwrap().as_str(), "application/json");
        let id = EventId::parse(headers.get("Nats-Msg-Id").unwrap().as_str()).unwrap();
        ids.push(u64::try_from(id.0).unwrap());
    }
    ids
}

/// Goal: all events are in the stream exactly once after the broker was killed with SIGKILL and restarted while they were published.
/// Method: publish 30,000, kill twice at unforeseeable points, compare the ids in the stream with those appended.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_neither_loses_nor_doubles() {
    let Some(binary) = binary() else { return };
    let mut server = NatsServer::new(binary);
    server.start().await;
    create_stream(&server.url()).await;
    let setup = publisher(&server.url(), limits(), Duration::from_secs(60)).await;
    const COUNT: u64 = 30_000;
    let journal = Arc::clone(&setup.journal);
    let writer = tokio::task::spawn_blocking(move || {
        for first in (0..COUNT).step_by(100) {
            journal.append(&mut records(first..first + 100)).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    for share in [COUNT / 4, COUNT / 2] {
        until("a share is confirmed", 60, async || setup.journal.status().confirmed > share).await;
        server.kill();
        server.start().await;
    }
    writer.await.unwrap();
    setup.stop.cancel();
    let drained = setup.task.await.unwrap().unwrap();
    assert_eq!(drained, DrainResult { undelivered: 0 });
    assert!(setup.link.connects() >= 3, "the kills were seen");
    let mut ids = stored_ids(&server.url()).await;
    ids.sort_unstable();
    assert_eq!(ids, (0..COUNT).collect::<Vec<_>>());
    assert_eq!(setup.journal.status().dropped.iter().sum::<u64>(), 0);
    assert_eq!(setup.coverage.rows(marketprism_edge::clock::now_ns())[0].status, "ok");
}

/// Goal: without a stream nothing is lost; when it is created, everything is delivered, in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_stream_is_waited_for() {
    let Some(binary) = binary() else { return };
    let mut server = NatsServer::new(binary);
    server.start().await;
    let setup = publisher(&server.url(), limits(), Duration::from_secs(30)).await;
    setup.journal.append(&mut records(0..10)).unwrap();
    let refused = setup.metrics.republished.with_label_values(&["refused"]);
    until("messages are tried again", 10, async || refused.get() > 0).await;
    assert_eq!(setup.journal.status().confirmed, 0);
    create_stream(&server.url()).await;
    until("everything is confirmed", 20, async || setup.journal.status().confirmed == 10).await;
    setup.stop.cancel();
    assert_eq!(setup.task.await.unwrap().unwrap(), DrainResult { undelivered: 0 });
    let mut ids = stored_ids(&server.url()).await;
    ids.sort_unstable();
    assert_eq!(ids, (0..10).collect::<Vec<_>>());
}

/// Goal: without a broker the end comes in time and says how much is left.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_comes_in_time_without_a_broker() {
    let setup = publisher("nats://127.0.0.1:1", limits(), Duration::from_millis(300)).await;
    setup.journal.append(&mut records(0..10)).unwrap();
    setup.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), setup.task).await.expect("in time");
    assert_eq!(ended.unwrap().unwrap(), DrainResult { undelivered: 10 });
}

/// Goal: a message that the broker will never take is counted as lost and holds nothing up.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_counted_as_lost() {
    let Some(binary) = binary() else { return };
    let mut server = NatsServer::new(binary);
    server.start().await;
    create_stream(&server.url()).await;
    let setup = publisher(&server.url(), limits(), Duration::from_secs(30)).await;
    let mut all = records(0..3);
    all[1].payload = Bytes::from(vec![b'x'; 2 << 20]);
    until("the broker is connected", 10, async || setup.link.is_connected()).await;
    setup.journal.append(&mut all).unwrap();
    setup.stop.cancel();
    assert_eq!(setup.task.await.unwrap().unwrap(), DrainResult { undelivered: 0 });
    assert_eq!(setup.metrics.lost.with_label_values(&["trade", "too_large"]).get(), 1);
    assert_eq!(stored_ids(&server.url()).await, [0, 2]);
}

/// Measures messages a second from journal to acknowledgement, for several windows. Run by hand: `-- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn throughput() {
    let Some(binary) = binary() else { return };
    for window in [64, 256, 4_096] {
        let mut server = NatsServer::new(binary.clone());
        server.start().await;
        create_stream(&server.url()).await;
        let limits = PublisherLimits { in_flight_messages: window, in_flight_bytes: 16 << 20, ..limits() };
        let setup = publisher(&server.url(), limits, Duration::from_secs(60)).await;
        until("the broker is connected", 10, async || setup.link.is_connected()).await;
        const COUNT: u64 = 90_000;
        let mut all = records(0..COUNT);
        let start = Instant::now();
        setup.journal.append(&mut all).unwrap();
        until("all are confirmed", 60, async || setup.journal.status().confirmed == COUNT).await;
        let rate = COUNT as f64 / start.elapsed().as_secs_f64();
        println!("{window} in flight: {rate:.0} messages/s");
        setup.stop.cancel();
        setup.task.await.unwrap().unwrap();
    }
}
