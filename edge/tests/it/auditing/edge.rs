//! An edge without its feeds, a broker, and what lies in the streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use bytes::Bytes;
use marketprism_config::{Nats, NatsAuthentication};
use marketprism_edge::audit::{AuditOrigin, Auditor};
use marketprism_edge::broker::connect;
use marketprism_edge::clock;
use marketprism_edge::config::PublisherLimits;
use marketprism_edge::publisher::AuditSender;
use marketprism_edge::publisher::{DrainResult, Publisher};
use marketprism_edge::queue::{EventQueue, MemoryQueue, QueueLimits, Record};
use marketprism_edge::telemetry::Coverage;
use marketprism_edge::telemetry::Metrics;
use marketprism_schema::{
    Audit, DataType, EventId, Fingerprint, MarketType, StreamId, WireForm, decode_audit,
};
use tokio_util::sync::CancellationToken;

/// Nanoseconds of a second, the length of a window here.
pub const SECOND: i64 = 1_000_000_000;
/// The stream of the events.
pub const STREAM: &str = "MARKET_DATA";

/// The trades of a symbol.
pub fn subject(symbol: &str) -> StreamId {
    StreamId::new(DataType::Trade, "sim_spot", MarketType::Spot, symbol).unwrap()
}

/// An auditor with windows of a second and the trades of A-B (0) and C-D (1).
pub fn auditor(run_ns: i64) -> Arc<Auditor> {
    let origin = AuditOrigin {
        edge: "e1".into(),
        region: "r".into(),
        run_ns,
        window_seconds: 1,
        settle: Duration::from_millis(100),
    };
    let auditor = Auditor::new(origin);
    assert_eq!(auditor.feed("sim_spot"), 0);
    let row = |symbol| std::array::from_fn(|kind| (kind == 0).then(|| subject(symbol)));
    let table = auditor.subscribe(0, &[row("A-B"), row("C-D")], run_ns);
    assert_eq!((table[0][0], table[1][0]), (0, 1));
    Arc::new(auditor)
}

/// A trade of one of the two streams.
pub fn record(stream: u32, id: u64, received_at_ns: i64) -> Record {
    // Spread as a hash spreads it.
    let event_id = EventId(u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    Record {
        subject: subject(["A-B", "C-D"][stream as usize]).to_string().into(),
        event_id,
        data_type: DataType::Trade,
        form: WireForm::Json,
        coverage: 0,
        stream,
        sequence: i64::try_from(id).ok(),
        received_at_ns,
        timestamp_us: received_at_ns / 1_000,
        payload: Bytes::from(format!(
            "{{\"received_at\":{received_at_ns},\"filler\":\"{}\"}}",
            "x".repeat(200)
        )),
    }
}

/// EventQueue, publisher and audits of an edge.
pub struct Running {
    pub journal: Arc<MemoryQueue>,
    pub auditor: Arc<Auditor>,
    pub metrics: Metrics,
    pub stop: CancellationToken,
    pub audits_stop: CancellationToken,
    pub publisher: tokio::task::JoinHandle<anyhow::Result<DrainResult>>,
    pub audits: tokio::task::JoinHandle<u64>,
}

/// Starts them.
pub async fn run(url: &str, queue: u64) -> Running {
    let nats = Nats {
        urls: vec![url.to_owned()],
        tls_required: false,
        ca_file: None,
        client_certificate: None,
        authentication: NatsAuthentication::Anonymous,
        connect_timeout: Duration::from_secs(2),
    };
    let limits = PublisherLimits {
        in_flight_messages: 256,
        in_flight_bytes: 1 << 20,
        ack_timeout: Duration::from_secs(2),
        queue_messages: 100_000,
        queue_bytes: 64 << 20,
    };
    let auditor = auditor(clock::now_ns());
    let bounds = QueueLimits { messages: queue, bytes: 64 << 20 };
    let wait = Duration::from_millis(if queue < 1_000 { 1 } else { 2_000 });
    let journal = Arc::new(MemoryQueue::with_room_wait(bounds, Arc::clone(&auditor), wait));
    let metrics = Metrics::new().unwrap();
    let (client, link) = connect(&nats, "test").await.unwrap();
    let shared = Arc::clone(&journal) as Arc<dyn EventQueue>;
    let publisher = Publisher::new(
        client.clone(),
        Arc::clone(&link),
        Arc::clone(&shared),
        Arc::new(Coverage::default()),
        Arc::clone(&auditor),
        metrics.clone(),
        limits,
    );
    let sender = AuditSender::new(client, link, shared, Arc::clone(&auditor), metrics.clone(), "e1");
    let (stop, audits_stop) = (CancellationToken::new(), CancellationToken::new());
    Running {
        publisher: tokio::spawn(publisher.run(stop.clone(), Duration::from_secs(60))),
        audits: tokio::spawn(sender.run(audits_stop.clone())),
        journal,
        auditor,
        metrics,
        stop,
        audits_stop,
    }
}

impl Running {
    /// Appends trades of both streams, marked as received now, and says that all before is through.
    pub fn append(&self, ids: std::ops::Range<u64>) {
        let mut records = ids.map(|id| record((id % 2) as u32, id, clock::now_ns())).collect();
        self.journal.append(&mut records).unwrap();
        self.auditor.told(0, Vec::new(), Some(clock::now_ns()));
    }

    /// Stops everything: what is left, and how many windows could not be told.
    pub async fn end(self) -> (DrainResult, u64) {
        self.auditor.told(0, Vec::new(), Some(i64::MAX));
        self.stop.cancel();
        let drained = self.publisher.await.unwrap().unwrap();
        self.audits_stop.cancel();
        (drained, self.audits.await.unwrap())
    }
}

/// Makes the streams of events and audits.
pub async fn create_streams(url: &str) {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    for (name, subject) in [(STREAM, "trade.>"), ("AUDIT", "audit.>")] {
        let config = jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            duplicate_window: Duration::from_secs(120),
            ..Default::default()
        };
        context.create_stream(config).await.unwrap();
    }
}

/// All messages of a stream.
pub async fn messages(url: &str, stream: &str) -> Vec<jetstream::Message> {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    let mut stream = context.get_stream(stream).await.unwrap();
    let count = stream.info().await.unwrap().state.messages;
    let config = jetstream::consumer::pull::Config {
        ack_policy: jetstream::consumer::AckPolicy::None,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut incoming = consumer.messages().await.unwrap();
    let mut all = Vec::new();
    while (all.len() as u64) < count {
        all.push(futures_util::StreamExt::next(&mut incoming).await.unwrap().unwrap());
    }
    all
}

/// What lies in the stream, by symbol and second of receive time.
pub async fn stored(url: &str) -> BTreeMap<(String, i64), BTreeSet<EventId>> {
    let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for message in messages(url, STREAM).await {
        let header = |name: &str| message.headers.as_ref().unwrap().get(name).unwrap().as_str().to_owned();
        let id = EventId::parse(&header("Nats-Msg-Id")).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        let symbol = message.subject.rsplit('.').next().unwrap().to_owned();
        let at_ns = body["received_at"].as_i64().unwrap();
        assert!(all.entry((symbol, at_ns / SECOND * SECOND)).or_default().insert(id), "twice in the stream");
    }
    all
}

/// All audits that the broker has.
pub async fn audits(url: &str) -> Vec<Audit> {
    messages(url, "AUDIT").await.iter().map(|message| decode_audit(&message.payload).unwrap()).collect()
}

/// Recomputes every window from the stream. Gives how many events were stored for sure, unsure, and dropped.
pub async fn compare(url: &str) -> (u64, usize, u64) {
    let mut stored = stored(url).await;
    let audits = audits(url).await;
    let mut sums = (0, 0, 0);
    for pair in audits.windows(2) {
        assert_eq!(pair[0].to, pair[1].from, "windows follow each other without a hole");
    }
    for audit in &audits {
        for stream in &audit.streams {
            let mut ids = stored.remove(&(stream.id.symbol.clone(), audit.window_start)).unwrap_or_default();
            for id in &stream.unsure {
                assert!(ids.remove(id), "an unsure event is not in the stream");
            }
            let expected: Fingerprint = ids.into_iter().collect();
            assert_eq!(stream.stored, expected, "{} {}", stream.id.symbol, audit.window_start);
            assert!(!stream.unsure_truncated);
            sums = (sums.0 + stream.stored.count, sums.1 + stream.unsure.len(), sums.2 + stream.dropped);
        }
    }
    assert!(stored.is_empty(), "windows with events and without an audit: {:?}", stored.keys());
    sums
}

/// Waits for something to become true.
pub async fn until(what: &str, seconds: u64, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !done().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
