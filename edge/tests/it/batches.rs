//! Several packed events in one message, on a real broker.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use marketprism_config::Nats;
use marketprism_edge::audit::Auditor;
use marketprism_edge::config::PublisherLimits;
use marketprism_edge::journal::DiskFiles;
use marketprism_edge::publisher::DrainResult;
use marketprism_edge::queue::{EventQueue, EventRecord, MemoryQueue, QueueLane, QueueLimits};
use marketprism_edge::telemetry::Coverage;
use marketprism_schema::{
    Body, DataSource, Decimal, Event, EventId, Header, MarketType, Side, Trade, WireForm,
};
use marketprism_tests::broker::Broker;
use marketprism_tests::wait::eventually;

use crate::broker::{
    Publishing, STREAM, broker_with_stream, header, limits, messages, nats, publish, publish_through_kills,
    publish_to, record,
};
use crate::journaled::{journaled, options};

fn packed(symbol: &'static str, number: u64, coverage: &Coverage) -> EventRecord {
    packed_as(symbol, number, number.to_string(), coverage)
}

fn packed_as(symbol: &'static str, number: u64, trade_id: String, coverage: &Coverage) -> EventRecord {
    let one = Decimal { mantissa: 1, scale: 0 };
    let trade = Trade { trade_id: trade_id.into(), price: one, quantity: one, side: Side::Buy };
    let header = Header {
        exchange: "sim_spot".into(),
        market_type: MarketType::Spot,
        symbol: symbol.into(),
        venue_symbol: symbol.into(),
        timestamp_us: 1,
        received_at_ns: 1_000,
        event_id: EventId(number.into()),
        edge: "e".into(),
        region: "r".into(),
        adapter: "a".into(),
        data_source: DataSource::Live,
    };
    let mut payload = Vec::new();
    WireForm::Protobuf.encode(&Event { header, body: Body::Trade(trade) }, &mut payload);
    let form = WireForm::Protobuf;
    EventRecord { form, payload: payload.into(), ..record(symbol, number.into(), None, 1_000, coverage) }
}

async fn start(url: &str, linger: Duration) -> Publishing {
    let limits = PublisherLimits { linger, batch_events: 50, ..limits() };
    publish(url, limits, Arc::new(Auditor::off()), Duration::from_secs(60)).await
}

/// The ids of each message, whose own id is that of its content.
async fn stored(url: &str) -> Vec<Vec<u128>> {
    let mut all = Vec::new();
    for message in messages(url, STREAM).await {
        assert!(message.headers.as_ref().is_none_or(|headers| headers.get("Content-Type").is_none()));
        let events = WireForm::Protobuf.decode_all(&message.payload).unwrap();
        let ids: Vec<EventId> = events.iter().map(|event| event.header.event_id).collect();
        assert_eq!(header(&message, "Nats-Msg-Id"), EventId::of_message(ids.iter().copied()).to_string());
        all.push(ids.into_iter().map(|id| id.0).collect());
    }
    all
}

async fn ended(edge: Publishing) {
    edge.stop.cancel();
    assert_eq!(edge.task.await.unwrap().unwrap(), DrainResult { undelivered: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_events_share_messages_and_are_in_the_stream_once_after_kills_of_the_broker() {
    const COUNT: u64 = 20_000;
    let (_folder, mut broker) = broker_with_stream().await;
    let mut edge = start(&broker.url(), Duration::from_millis(2)).await;
    publish_through_kills(&mut broker, &mut edge, COUNT, |coverage, numbers| {
        let symbol = |number: u64| if number.is_multiple_of(3) { "A-B" } else { "C-D" };
        numbers.map(|number| packed(symbol(number), number, coverage)).collect()
    })
    .await;
    let metrics = edge.metrics;
    let stored = stored(&broker.url()).await;
    let mut ids: Vec<u128> = stored.iter().flatten().copied().collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..u128::from(COUNT)).collect::<Vec<_>>());
    assert!(stored.len() * 5 < ids.len(), "{} messages", stored.len());
    assert!(stored.iter().all(|ids| ids.is_sorted()), "the order of a subject stays");
    assert_eq!(metrics.acknowledged.get(), COUNT, "events are counted, not messages");
    assert!(metrics.published_messages.get() * 5 < metrics.published.get());
}

/// As after a lost acknowledgement, when the run before it had grouped the events the same way.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_knows_a_message_of_the_same_events_and_each_of_them_counts_as_its_duplicate() {
    let (_folder, broker) = broker_with_stream().await;
    for duplicates in [0, 20] {
        // Long enough for all to be ready together.
        let edge = start(&broker.url(), Duration::from_secs(60)).await;
        let mut records = (0..20).map(|number| packed("A-B", number, &edge.coverage)).collect();
        edge.queue.append(QueueLane::default(), &mut records);
        eventually("all are read", || async { edge.queue.status().unread == 0 }).await;
        let metrics = edge.metrics.clone();
        ended(edge).await;
        assert_eq!(metrics.acknowledged.get(), 20);
        assert_eq!(metrics.acknowledged_duplicates.get(), duplicates);
    }
    assert_eq!(stored(&broker.url()).await, [(0..20).collect::<Vec<u128>>()]);
}

/// A stream for a few events a message.
async fn create_small_stream(broker: &Broker) {
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["trade.>".to_owned()],
        max_message_size: 400,
        ..Default::default()
    };
    let context = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    context.create_stream(config).await.unwrap();
}

/// Publishes twenty events that fit each and one that does not.
async fn goes_apart(edge: Publishing, broker: &Broker) {
    let mut records: Vec<_> = (0..20).map(|number| packed("A-B", number, &edge.coverage)).collect();
    let large = packed_as("A-B", 20, "7".repeat(400), &edge.coverage);
    records.push(large);
    edge.queue.append(QueueLane::default(), &mut records);
    let metrics = edge.metrics.clone();
    eventually("each has an end", || async { edge.queue.status().messages == 0 }).await;
    ended(edge).await;
    let stored = stored(&broker.url()).await;
    let mut ids: Vec<u128> = stored.iter().flatten().copied().collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..20).collect::<Vec<_>>());
    assert_eq!(metrics.lost.with_label_values(&["trade", "refused"]).get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_stream_finds_too_large_is_taken_apart_and_only_what_is_too_large_alone_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    create_small_stream(&broker).await;
    goes_apart(start(&broker.url(), Duration::from_millis(2)).await, &broker).await;
}

/// Errors name no domain: all of it was held, as for a small stream of the leaf node, until the centre's limit was raised.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_leaf_node_too_a_message_above_the_limit_of_the_centres_stream_is_taken_apart() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (hub, leaf) = Broker::hub_and_leaf([folders[0].path(), folders[1].path()]).await;
    create_small_stream(&hub).await;
    let journaled = journaled(options(folders[2].path()), Arc::new(DiskFiles));
    let auditor = Arc::new(Auditor::off());
    let bounds = QueueLimits { messages: 1_000, bytes: 1 << 20 };
    let queue = Arc::new(MemoryQueue::new(bounds, Arc::clone(&auditor)));
    let limits = PublisherLimits { linger: Duration::from_millis(2), batch_events: 50, ..limits() };
    let nats = Nats { jetstream_domain: Some("hub".to_owned()), ..nats(&leaf.url()) };
    let edge = publish_to(&nats, limits, auditor, Duration::from_secs(60), queue).await;
    let (_stop, _following) = journaled.follow(&edge);
    goes_apart(edge, &hub).await;
}
