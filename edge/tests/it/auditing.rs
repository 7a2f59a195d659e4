//! What an edge reports of a window is what the broker has of it, whatever happens meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use bytes::Bytes;
use marketprism_config::{Nats, NatsAuthentication};
use marketprism_edge::audit::{AuditOrigin, AuditSender, Auditor, Standing, Telling};
use marketprism_edge::clock;
use marketprism_edge::config::PublisherLimits;
use marketprism_edge::coverage::Coverage;
use marketprism_edge::journal::{Journal, MemoryJournal, MemoryLimits, Record};
use marketprism_edge::metrics::Metrics;
use marketprism_edge::publisher::{Drained, Publisher, connect};
use marketprism_edge::repair::answer_requests;
use marketprism_schema::{
    Audit, DataType, EventId, Fingerprint, GapCause, GapKind, MarketType, RepairAnswer, RepairRequest,
    RepairState, StreamAudit, Subject, WireForm, decode_audit,
};
use tokio_util::sync::CancellationToken;

use crate::nats_server::{NatsServer, Proxy, binary};

const SECOND: i64 = 1_000_000_000;
const STREAM: &str = "MARKET_DATA";

fn subject(symbol: &str) -> Subject {
    Subject::new(DataType::Trade, "sim_spot", MarketType::Spot, symbol).unwrap()
}

/// An auditor with windows of a second and the trades of A-B (0) and C-D (1).
fn auditor(run_ns: i64) -> Arc<Auditor> {
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

fn record(stream: u32, id: u64, received_at_ns: i64) -> Record {
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

struct Running {
    journal: Arc<MemoryJournal>,
    auditor: Arc<Auditor>,
    metrics: Metrics,
    stop: CancellationToken,
    audits_stop: CancellationToken,
    publisher: tokio::task::JoinHandle<anyhow::Result<Drained>>,
    audits: tokio::task::JoinHandle<u64>,
}

async fn run(url: &str, queue: u64) -> Running {
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
    let bounds = MemoryLimits { messages: queue, bytes: 64 << 20 };
    let wait = Duration::from_millis(if queue < 1_000 { 1 } else { 2_000 });
    let journal = Arc::new(MemoryJournal::with_room_wait(bounds, Arc::clone(&auditor), wait));
    let metrics = Metrics::new().unwrap();
    let (client, link) = connect(&nats, "test").await.unwrap();
    let shared = Arc::clone(&journal) as Arc<dyn Journal>;
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
    fn append(&self, ids: std::ops::Range<u64>) {
        let mut records = ids.map(|id| record((id % 2) as u32, id, clock::now_ns())).collect();
        self.journal.append(&mut records).unwrap();
        self.auditor.told(0, Vec::new(), Some(clock::now_ns()));
    }

    async fn end(self) -> (Drained, u64) {
        self.auditor.told(0, Vec::new(), Some(i64::MAX));
        self.stop.cancel();
        let drained = self.publisher.await.unwrap().unwrap();
        self.audits_stop.cancel();
        (drained, self.audits.await.unwrap())
    }
}

async fn create_streams(url: &str) {
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

async fn messages(url: &str, stream: &str) -> Vec<jetstream::Message> {
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
async fn stored(url: &str) -> BTreeMap<(String, i64), BTreeSet<EventId>> {
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

async fn audits(url: &str) -> Vec<Audit> {
    messages(url, "AUDIT").await.iter().map(|message| decode_audit(&message.payload).unwrap()).collect()
}

/// Recomputes every window from the stream. Gives how many events were stored for sure, unsure, and dropped.
async fn compare(url: &str) -> (u64, usize, u64) {
    let mut stored = stored(url).await;
    let audits = audits(url).await;
    let mut sums = (0, 0, 0);
    for pair in audits.windows(2) {
        assert_eq!(pair[0].to, pair[1].from, "windows follow each other without a hole");
    }
    for audit in &audits {
        for stream in &audit.streams {
            let mut ids = stored.remove(&(stream.symbol.clone(), audit.window_start)).unwrap_or_default();
            for id in &stream.unsure {
                assert!(ids.remove(id), "an unsure event is not in the stream");
            }
            let expected: Fingerprint = ids.into_iter().collect();
            assert_eq!(stream.stored, expected, "{} {}", stream.symbol, audit.window_start);
            assert!(!stream.unsure_truncated);
            sums = (sums.0 + stream.stored.count, sums.1 + stream.unsure.len(), sums.2 + stream.dropped);
        }
    }
    assert!(stored.is_empty(), "windows with events and without an audit: {:?}", stored.keys());
    sums
}

async fn until(what: &str, seconds: u64, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !done().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Goal: audits are exact although the broker is killed with SIGKILL while events are published: what is not sure is named, and nothing
/// is reported twice or not at all. Method: 20,000 events over several windows, two kills, every window recomputed from the stream.
#[tokio::test(flavor = "multi_thread")]
async fn audits_are_exact_through_kills_of_the_broker() {
    let Some(binary) = binary() else { return };
    let mut server = NatsServer::new(binary);
    server.start().await;
    create_streams(&server.url()).await;
    let running = Arc::new(run(&server.url(), 100_000).await);
    const COUNT: u64 = 20_000;
    let writer = {
        let running = Arc::clone(&running);
        tokio::task::spawn_blocking(move || {
            for first in (0..COUNT).step_by(100) {
                running.append(first..first + 100);
                std::thread::sleep(Duration::from_millis(15));
            }
        })
    };
    for share in [COUNT / 4, COUNT / 2] {
        until("a share is confirmed", 60, async || running.journal.status().confirmed > share).await;
        server.kill();
        server.start().await;
    }
    writer.await.unwrap();
    let running = Arc::into_inner(running).unwrap();
    let status = running.auditor.status();
    assert_eq!((status.late, status.dropped), (0, 0));
    let sent = running.metrics.audits_sent.clone();
    assert_eq!(running.end().await, (Drained { undelivered: 0 }, 0));
    let (sure, unsure, dropped) = compare(&server.url()).await;
    assert_eq!((sure + unsure as u64, dropped), (COUNT, 0));
    assert!(sent.get() >= 3, "{} windows", sent.get());
    println!("{sure} sure, {unsure} unsure in {} audits", sent.get());
}

/// Goal: events whose acknowledgement was lost are named as unsure, one by one, and the rest of their windows stays exact. Method: a
/// proxy lets the broker store hundreds of events whose acknowledgements it throws away, then cuts the connection; the edge sends them
/// again and is told that the broker has them.
#[tokio::test(flavor = "multi_thread")]
async fn events_with_a_lost_acknowledgement_are_unsure() {
    let Some(binary) = binary() else { return };
    let mut server = NatsServer::new(binary);
    server.start().await;
    create_streams(&server.url()).await;
    let proxy = Proxy::start(server.port).await;
    let running = run(&format!("nats://127.0.0.1:{}", proxy.port), 100_000).await;
    running.append(0..500);
    until("the first are confirmed", 20, async || running.journal.status().messages == 0).await;
    let mut expected = 500;
    for _ in 0..2 {
        proxy.mute();
        running.append(expected..expected + 200);
        expected += 200;
        until("the broker has them", 20, async || {
            messages(&server.url(), STREAM).await.len() as u64 == expected
        })
        .await;
        assert_eq!(running.journal.status().messages, 200, "none of them is acknowledged");
        proxy.cut();
        until("they are confirmed", 20, async || running.journal.status().messages == 0).await;
    }
    running.append(expected..expected + 100);
    assert_eq!(running.end().await, (Drained { undelivered: 0 }, 0));
    assert_eq!(compare(&server.url()).await, (600, 400, 0));
}

/// Goal: what the full queue loses is counted by stream and window with cause ours, and what is left is exact. Method: no broker, a
/// queue of 100, 1,000 events; then a broker.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_reported() {
    let Some(binary) = binary() else { return };
    let mut server = NatsServer::new(binary);
    let running = run(&server.url(), 100).await;
    for first in (0..1_000).step_by(50) {
        running.append(first..first + 50);
    }
    server.start().await;
    create_streams(&server.url()).await;
    until("the rest is confirmed", 30, async || running.journal.status().messages == 0).await;
    assert_eq!(running.end().await, (Drained { undelivered: 0 }, 0));
    let (sure, unsure, dropped) = compare(&server.url()).await;
    assert_eq!((sure + unsure as u64, dropped), (100, 900));
    let gaps: Vec<_> = audits(&server.url()).await.into_iter().flat_map(|audit| audit.streams).collect();
    let gaps: Vec<_> = gaps.into_iter().flat_map(|stream| stream.gaps).collect();
    assert!(gaps.iter().all(|gap| (gap.kind, gap.cause) == (GapKind::Dropped, GapCause::Ours)), "{gaps:?}");
    assert_eq!(gaps.iter().filter_map(|gap| gap.missing).sum::<u64>(), 900);
}

fn settle(auditor: &Auditor, stream: u32, id: u64, at_ns: i64) {
    use marketprism_edge::audit::Settlement::Stored;
    auditor.settle(&[record(stream, id, at_ns).settled(Stored)]);
}

/// Goal: a window is reported when its time is over, its records are settled and its feeds are past it, and not before; what comes later
/// is counted, and never changes what was said. Streams without anything are named as silent.
#[test]
fn windows_close_when_all_is_known() {
    let auditor = auditor(1_000 * SECOND + SECOND / 2);
    let second = |seconds: i64| (1_000 + seconds) * SECOND;
    settle(&auditor, 0, 7, second(0) + SECOND / 2);
    auditor.told(0, Vec::new(), Some(second(1)));
    assert_eq!(auditor.close(second(1) + SECOND / 20, i64::MAX, 9), [], "late frames have their time");
    assert_eq!(auditor.close(second(2), second(0), 9), [], "a record is under way");
    let audits = auditor.close(second(9), auditor.frontier_ns(), 9);
    let [audit] = audits.as_slice() else { panic!("{audits:?}") };
    assert_eq!((audit.from, audit.to), (second(0) + SECOND / 2, second(1)));
    assert_eq!(audit.silent, [subject("C-D")]);
    let [stream] = audit.streams.as_slice() else { panic!("{audit:?}") };
    assert_eq!((stream.stored.count, stream.first_sequence, stream.last_sequence), (1, Some(7), Some(7)));
    assert_eq!(stream.oldest_timestamp, Some((second(0) + SECOND / 2) / 1_000));
    settle(&auditor, 0, 8, second(0) + SECOND / 2);
    assert_eq!(auditor.status().late, 1);
    let (last, open) = auditor.close_all(second(1) + 5, i64::MAX);
    assert_eq!((last.len(), last[0].from, last[0].to, open), (1, second(1), second(1) + 5, 0));
    let (none, open) = auditor.close_all(second(4), second(3));
    assert_eq!((none.len(), open), (1, 1), "a record of the last window is under way");
}

/// Goal: without a broker the tallies stay bounded: the oldest windows are given up and counted, the newest are kept.
#[test]
fn open_windows_are_bounded() {
    let auditor = auditor(1_000 * SECOND);
    for window in 0..1_000 {
        settle(&auditor, 0, 1, (1_000 + window) * SECOND);
    }
    let status = auditor.status();
    assert_eq!((status.dropped, status.late), (820, 0));
    let audits = auditor.close(9_000 * SECOND, 2_000 * SECOND, 1_000);
    assert_eq!((audits.len(), audits[0].window_start), (180, 1_820 * SECOND));
}

/// Goal: a stream that is down is told in every window that this touches, and not as silent; a feed that ends without being asked to
/// leaves a gap of ours in all its streams.
#[test]
fn lasting_gaps_are_in_every_window() {
    let auditor = auditor(1_000 * SECOND);
    let second = |seconds: i64| (1_000 + seconds) * SECOND;
    let standing = Standing {
        kind: GapKind::Connection,
        cause: GapCause::Network,
        from_ns: second(0) + 5,
        sequences: None,
        evidence: "lost".into(),
    };
    auditor.told(0, vec![Telling::Down(0, standing)], Some(second(2)));
    let parts = |audits: &[Audit]| -> Vec<(GapKind, i64, i64)> {
        let streams = audits.iter().flat_map(|audit| &audit.streams).filter(|stream| stream.symbol == "A-B");
        let gaps: Vec<&StreamAudit> = streams.collect();
        gaps.iter().flat_map(|stream| &stream.gaps).map(|gap| (gap.kind, gap.from, gap.to)).collect()
    };
    let first = auditor.close(second(9), auditor.frontier_ns(), 9);
    let connection = GapKind::Connection;
    assert_eq!(parts(&first), [(connection, second(0) + 5, second(1)), (connection, second(1), second(2))]);
    auditor.told(0, vec![Telling::Up(0, connection, second(3) + 7)], Some(second(5)));
    auditor.feed_ended(0, Some("trouble"));
    let second_ones = auditor.close(second(7), second(6), 9);
    let fault = GapKind::AdapterFault;
    assert_eq!(
        parts(&second_ones),
        [
            (connection, second(2), second(3)),
            (connection, second(3), second(3) + 7),
            (fault, second(5), second(6))
        ]
    );
    assert_eq!(second_ones[3].feeds[0].not_running.as_deref(), Some("trouble"));
    assert!(first.iter().all(|audit| audit.silent == [subject("C-D")]));
}

/// Goal: a request to send again is answered honestly: this edge keeps nothing on disk. What is no request is refused, and says why.
#[tokio::test]
async fn repair_requests_are_answered() {
    let Some(binary) = binary() else { return };
    let mut server = NatsServer::new(binary);
    server.start().await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(answer_requests(client.clone(), "e1".into(), stop.clone()));
    let request = RepairRequest::new("r-1".into(), &subject("A-B"), 1, 2).encode().unwrap();
    let ask = async |bytes: Vec<u8>| {
        let asked = client.request("repair.e1", bytes.into()).await;
        asked.ok().map(|answer| RepairAnswer::decode(&answer.payload).unwrap())
    };
    until("the edge answers", 10, async || ask(request.clone()).await.is_some()).await;
    let answer = ask(request).await.unwrap();
    assert_eq!((answer.request_id.as_str(), answer.state, answer.resent), ("r-1", RepairState::NotKept, 0));
    assert!(answer.reason.contains("no journal on disk"), "{}", answer.reason);
    let refused = ask(b"{}".to_vec()).await.unwrap();
    assert_eq!(refused.state, RepairState::Refused);
    assert!(refused.reason.contains("version"), "{}", refused.reason);
    stop.cancel();
    task.await.unwrap().unwrap();
}

/// Goal: the tally costs at most 2 % of an event's way through the edge, which takes 3.3 us at 300,000 events a second. Method: the best
/// of many batches as the publisher settles them, over 100 streams, with nothing else measured.
#[test]
fn the_tally_is_cheap() {
    use marketprism_edge::audit::Settlement::Stored;
    let auditor = auditor(1_000 * SECOND);
    let batch: Vec<_> = (0..256_u64)
        .map(|id| {
            let settled = record(0, id, 1_000 * SECOND + i64::try_from(id).unwrap()).settled(Stored);
            marketprism_edge::audit::Settled { stream: (id % 100) as u32, ..settled }
        })
        .collect();
    let best = (0..2_000).map(|_| {
        let start = Instant::now();
        auditor.settle(&batch);
        start.elapsed()
    });
    let each_ns = best.min().unwrap().as_secs_f64() * 1e9 / 256.0;
    println!("{each_ns:.1} ns an event");
    assert!(each_ns < 66.0, "{each_ns} ns an event");
}
