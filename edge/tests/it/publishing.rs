//! Every event that enters the queue is in the stream once, whatever happens to the broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;
use marketprism_config::Nats;
use marketprism_edge::audit::Auditor;
use marketprism_edge::config::{MirrorSettings, PublisherLimits};
use marketprism_edge::publisher::DrainResult;
use marketprism_edge::queue::{EventQueue, EventRecord, MemoryQueue, QueueLane, QueueLimits};
use marketprism_edge::telemetry::Coverage;
use marketprism_service::clock;
use marketprism_tests::broker::Broker;
use marketprism_tests::link::Link;
use marketprism_tests::wait::eventually;
use tokio::time::timeout;

use crate::broker::{
    Publishing, STREAM, broker_with_stream, create_stream, event_id, header, limits, messages, nats, publish,
    publish_through_kills, publish_to, record,
};

async fn start(url: &str, drain: Duration) -> Publishing {
    publish(url, limits(), Arc::new(Auditor::off()), drain).await
}

fn records(coverage: &Coverage, ids: std::ops::Range<u64>) -> Vec<EventRecord> {
    ids.map(|id| record("A-B", id.into(), None, 1, coverage)).collect()
}

async fn stored_ids(url: &str) -> Vec<u128> {
    let mut ids = Vec::new();
    for message in messages(url, STREAM).await {
        assert_eq!(header(&message, "Content-Type"), "application/json");
        let id = event_id(&message);
        assert_eq!(header(&message, "Nats-Msg-Id"), id.to_string());
        ids.push(id.0);
    }
    ids.sort_unstable();
    ids
}

/// An edge of a leaf node, for the centre behind it.
async fn behind(leaf: &Broker) -> Publishing {
    let nats = Nats { jetstream_domain: Some("hub".to_owned()), ..nats(&leaf.url()) };
    let auditor = Arc::new(Auditor::off());
    let bounds = QueueLimits { messages: 1_000, bytes: 1 << 20 };
    let queue = Arc::new(MemoryQueue::new(bounds, Arc::clone(&auditor)));
    publish_to(&nats, limits(), auditor, Duration::from_secs(30), queue).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_events_are_in_the_stream_once_after_kills_of_the_broker() {
    const COUNT: u64 = 30_000;
    let (_folder, mut broker) = broker_with_stream().await;
    let mut edge = start(&broker.url(), Duration::from_secs(60)).await;
    publish_through_kills(&mut broker, &mut edge, COUNT, records).await;
    assert_eq!(stored_ids(&broker.url()).await, (0..u128::from(COUNT)).collect::<Vec<_>>());
    assert_eq!(edge.queue.status().dropped.values().sum::<u64>(), 0);
    assert_eq!(edge.coverage.rows(clock::now_ns())[0].status, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_a_stream_are_delivered_when_it_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let edge = start(&broker.url(), Duration::from_secs(120)).await;
    edge.queue.append(QueueLane::default(), &mut records(&edge.coverage, 0..10));
    let refused = edge.metrics.republished.with_label_values(&["refused"]);
    eventually("messages are published again", || async { refused.get() > 0 }).await;
    assert_eq!(edge.queue.status().confirmed, 0);
    let reason =
        eventually("a reason", || async { edge.link.stalls().reasons(Instant::now()).into_iter().next() })
            .await;
    assert!(reason.contains("no stream stores the subject"), "{reason}");
    create_stream(&broker.url(), STREAM, "trade.>").await;
    eventually("everything is confirmed", || async { edge.queue.status().confirmed == 10 }).await;
    edge.stop.cancel();
    assert_eq!(edge.task.await.unwrap().unwrap(), DrainResult { undelivered: 0 });
    assert_eq!(stored_ids(&broker.url()).await, (0..10).collect::<Vec<_>>());
}

/// A full window needs 0.9 s of the link. Copies of what it still carries took the place of new events, and made acknowledgements later still.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_link_carries_each_event_once() {
    const COUNT: u64 = 600;
    let (_folder, broker) = broker_with_stream().await;
    let link = Link::to(broker.port()).await;
    link.slow_down(100_000);
    let limits = PublisherLimits { ack_timeout: Duration::from_millis(500), ..limits() };
    let url = format!("nats://127.0.0.1:{}", link.near());
    let edge = publish(&url, limits, Arc::new(Auditor::off()), Duration::from_secs(30)).await;
    edge.queue.append(QueueLane::default(), &mut records(&edge.coverage, 0..COUNT));
    eventually("everything is confirmed", || async { edge.queue.status().confirmed == COUNT }).await;
    let copies = edge.metrics.republished.with_label_values(&["ack_timeout"]).get();
    // One at a time where the machine stops for longer than the timeout.
    assert!(copies < 10, "{copies} events were sent again");
    assert_eq!(stored_ids(&broker.url()).await, (0..u128::from(COUNT)).collect::<Vec<_>>());
}

/// Its acknowledgement counted as stored: with the link to the centre cut, events were on the leaf node alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_leaf_node_takes_no_event_in_place_of_the_centres() {
    const COUNT: u64 = 10;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (mut hub, leaf) = Broker::hub_and_leaf([folders[0].path(), folders[1].path()]).await;
    create_stream(&hub.url(), STREAM, "trade.>").await;
    create_stream(&leaf.url(), STREAM, "trade.>").await;
    hub.kill();

    let edge = behind(&leaf).await;
    edge.queue.append(QueueLane::default(), &mut records(&edge.coverage, 0..COUNT));
    let refused = edge.metrics.republished.with_label_values(&["refused"]);
    eventually("messages are published again", || async { refused.get() >= COUNT }).await;
    assert_eq!(stored_ids(&leaf.url()).await.len() as u64, COUNT, "the leaf node has them");
    assert_eq!(edge.queue.status().confirmed, 0);
    let reason =
        eventually("a reason", || async { edge.link.stalls().reasons(Instant::now()).into_iter().next() })
            .await;
    assert!(reason.contains("domain leaf, wanted hub"), "{reason}");

    hub.restart().await;
    eventually("everything is confirmed", || async { edge.queue.status().confirmed == COUNT }).await;
    assert_eq!(stored_ids(&hub.url()).await, (0..u128::from(COUNT)).collect::<Vec<_>>());
}

/// A leaf node without the centre answers as a broker without the stream, which sent the reader to create it.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_node_that_has_lost_the_centre_is_named() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (mut hub, leaf) = Broker::hub_and_leaf([folders[0].path(), folders[1].path()]).await;
    create_stream(&hub.url(), STREAM, "trade.>").await;
    let edge = behind(&leaf).await;
    edge.queue.append(QueueLane::default(), &mut records(&edge.coverage, 0..1));
    eventually("the centre has the event", || async { edge.queue.status().confirmed == 1 }).await;
    hub.kill();
    edge.queue.append(QueueLane::default(), &mut records(&edge.coverage, 1..2));
    let reason = eventually("a reason", || async {
        let mut reasons = edge.link.stalls().reasons(Instant::now()).into_iter();
        reasons.find(|reason| !reason.ends_with("no answer"))
    })
    .await;
    assert!(reason.contains("this leaf node has lost the centre"), "{reason}");
    assert!(!reason.contains("marketprism-central init"), "the stream exists: {reason}");
}

/// Its acknowledgement comes first, and no domain is configured by which it is told from the centre's.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_leaf_node_that_acknowledges_beside_the_centres_is_named() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (hub, leaf) = Broker::hub_and_leaf([folders[0].path(), folders[1].path()]).await;
    create_stream(&hub.url(), STREAM, "trade.>").await;
    let edge = start(&leaf.url(), Duration::from_secs(30)).await;
    let append = |id| edge.queue.append(QueueLane::default(), &mut records(&edge.coverage, id..id + 1));
    append(0);
    eventually("the centre has the event", || async { edge.queue.status().confirmed == 1 }).await;
    assert_eq!(edge.link.domain_problem(), None);

    create_stream(&leaf.url(), STREAM, "trade.>").await;
    let mut id = 0;
    let problem = eventually("both domains are named", || {
        id += 1;
        append(id);
        async { edge.link.domain_problem() }
    })
    .await;
    assert!(problem.contains("hub and leaf") && problem.contains("set nats.jetstream_domain"), "{problem}");
}

/// Its answer comes first each time, and names no domain.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_for_a_stream_of_a_leaf_node_is_kept_for_the_centre() {
    const COUNT: u64 = 10;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (mut hub, leaf) = Broker::hub_and_leaf([folders[0].path(), folders[1].path()]).await;
    create_stream(&hub.url(), STREAM, "trade.>").await;
    let context = jetstream::new(async_nats::connect(leaf.url()).await.unwrap());
    let subjects = vec!["trade.>".to_owned()];
    let small =
        stream::Config { name: STREAM.to_owned(), subjects, max_message_size: 10, ..Default::default() };
    context.create_stream(small).await.unwrap();
    hub.kill();

    let edge = behind(&leaf).await;
    edge.queue.append(QueueLane::default(), &mut records(&edge.coverage, 0..COUNT));
    let refused = edge.metrics.republished.with_label_values(&["refused"]);
    let lost = edge.metrics.lost.with_label_values(&["trade", "refused"]);
    eventually("each message has been answered", || async { refused.get() + lost.get() >= COUNT }).await;
    assert_eq!(lost.get(), 0);
    hub.restart().await;
    eventually("everything is confirmed", || async { edge.queue.status().confirmed == COUNT }).await;
    assert_eq!(stored_ids(&hub.url()).await, (0..u128::from(COUNT)).collect::<Vec<_>>());
}

/// JetStream's storage is full, then it gets room.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stores_nothing_is_a_reason_after_seconds_and_loses_nothing() {
    const COUNT: u64 = 6_000;
    let folder = tempfile::tempdir().unwrap();
    let room = |bytes: &str| {
        format!(
            "accounts {{ A {{ users [{{user: a, password: a}}], jetstream {{ max_file: {bytes} }} }} }}\nno_auth_user: a\n"
        )
    };
    let mut broker = Broker::with_settings(folder.path(), &room("256KB")).await;
    create_stream(&broker.url(), STREAM, "trade.>").await;
    let edge = start(&broker.url(), Duration::from_secs(120)).await;
    edge.queue.append(QueueLane::default(), &mut records(&edge.coverage, 0..COUNT));
    let reason =
        eventually("a reason", || async { edge.link.stalls().reasons(Instant::now()).into_iter().next() })
            .await;
    assert!(reason.contains("no publish acknowledged for") && reason.contains(STREAM), "{reason}");
    assert!(reason.contains("the broker: ") && !reason.contains("no answer"), "{reason}");
    let stored = edge.queue.status().confirmed;
    assert!(stored < COUNT, "the broker had room for all");
    let stalled = edge.metrics.unacknowledged.with_label_values(&[STREAM]);
    eventually("the metric", || async { stalled.get() >= 5 }).await;

    broker.set_settings(&room("1GB"));
    broker.restart().await;
    eventually("everything is confirmed", || async { edge.queue.status().confirmed == COUNT }).await;
    eventually("no reason", || async { edge.link.stalls().reasons(Instant::now()).is_empty() }).await;
    edge.stop.cancel();
    assert_eq!(edge.task.await.unwrap().unwrap(), DrainResult { undelivered: 0 });
    assert_eq!(stored_ids(&broker.url()).await, (0..u128::from(COUNT)).collect::<Vec<_>>());
    assert_eq!(edge.queue.status().dropped.values().sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_the_publisher_stops_in_time_and_reports_the_rest() {
    let edge = start("nats://127.0.0.1:1", Duration::from_millis(300)).await;
    edge.queue.append(QueueLane::default(), &mut records(&edge.coverage, 0..10));
    edge.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(60), edge.task).await.expect("in time");
    assert_eq!(ended.unwrap().unwrap(), DrainResult { undelivered: 10 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_brokers_limit_is_counted_as_lost_and_blocks_nothing() {
    let (_folder, broker) = broker_with_stream().await;
    let edge = start(&broker.url(), Duration::from_secs(120)).await;
    let mut all = records(&edge.coverage, 0..3);
    all[1].payload = vec![b'x'; 2 << 20].into();
    eventually("the broker is connected", || async { edge.link.is_connected() }).await;
    edge.queue.append(QueueLane::default(), &mut all);
    edge.stop.cancel();
    assert_eq!(edge.task.await.unwrap().unwrap(), DrainResult { undelivered: 0 });
    assert_eq!(edge.metrics.lost.with_label_values(&["trade", "too_large"]).get(), 1);
    assert_eq!(stored_ids(&broker.url()).await, [0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_of_the_filter_are_mirrored_once_and_no_others() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let (_folder, broker) = broker_with_stream().await;
    let edge = start(&broker.url(), Duration::from_secs(120)).await;
    let reader = async_nats::connect(broker.url()).await.unwrap();
    let mut mirrored = reader.subscribe("core.>").await.unwrap();
    reader.flush().await.unwrap();
    edge.mirror.send_replace(MirrorSettings { subjects: vec!["trade.*.spot.A-B".to_owned()] });
    let append = |symbol: &str, id: u128, age: Duration, is_resend: bool| {
        let received_at_ns = clock::now_ns() - i64::try_from(age.as_nanos()).unwrap();
        let new = EventRecord { is_resend, ..record(symbol, id, None, received_at_ns, &edge.coverage) };
        edge.queue.append(QueueLane::default(), &mut vec![new]);
    };
    // The publisher follows the filter between two batches.
    let mut id = 0;
    let first = loop {
        id += 1;
        append("A-B", id, Duration::ZERO, false);
        if let Ok(Some(message)) = timeout(Duration::from_millis(100), mirrored.next()).await {
            break message;
        }
        assert!(id < 600, "nothing is mirrored");
    };
    assert_eq!(first.subject.as_str(), "core.trade.sim_spot.spot.A-B");
    let headers = first.headers.unwrap();
    let payload: serde_json::Value = serde_json::from_slice(&first.payload).unwrap();
    assert_eq!(headers.get("Nats-Msg-Id").unwrap().as_str(), payload["event_id"]);
    assert_eq!(headers.get("Content-Type").unwrap().as_str(), "application/json");

    append("A-B", 10_001, Duration::from_secs(60), false);
    append("C-D", 10_002, Duration::ZERO, false);
    append("A-B", 10_003, Duration::ZERO, true);
    append("A-B", 10_004, Duration::ZERO, false);
    let last = format!("{}", marketprism_schema::EventId(10_004));
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        let message = timeout(PATIENCE, mirrored.next()).await.unwrap().unwrap();
        let payload: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        seen.push(payload["event_id"].as_str().unwrap().to_owned());
    }
    let others = [10_001, 10_002, 10_003].map(|id| marketprism_schema::EventId(id).to_string());
    assert!(others.iter().all(|other| !seen.contains(other)), "{seen:?}");
    assert!(edge.metrics.mirror_dropped.with_label_values(&["late"]).get() >= 1);
    edge.stop.cancel();
    assert_eq!(edge.task.await.unwrap().unwrap(), DrainResult { undelivered: 0 });
    // Mirrored or not, the stream has all.
    let stored: Vec<String> =
        messages(&broker.url(), STREAM).await.iter().map(|message| event_id(message).to_string()).collect();
    assert!(others.iter().chain([&last]).all(|id| stored.contains(id)), "{stored:?}");
}
