//! A part after one of its instruments has moved to another one, for its new terms: its connection still has the subscription.

use std::sync::Arc;

use marketprism_adapter_host::fixtures::{ECHO_AT, EXCHANGE, FixtureKind};
use marketprism_edge::audit::Auditor;
use marketprism_edge::feed::{FeedStatus, InstrumentEnd, key_of};
use marketprism_edge::gaps::GapMonitor;
use marketprism_edge::telemetry::ANY;
use marketprism_schema::{DataType, DataTypeMap, MarketType, StreamId};
use marketprism_service::clock;
use marketprism_socket::{
    Budgets, FeedSockets, InputBounds, ReceivedFrame, SocketEvent, SocketOptions, input_queue,
};
use marketprism_tests::wait::eventually;

use crate::auditing::setup::{NUMBERED, SECOND, origin};
use crate::feeds::{RunningPipeline, adapter, supervisor};

/// The fixture gives it back as its result: an update of the book that cannot be read, and the restart of the book.
fn unreadable_update() -> SocketEvent {
    let mut words = vec![ECHO_AT, 0, ECHO_AT, 0, ECHO_AT + 24, 2];
    for remark in [[3, 0, ECHO_AT + 128, 1, 1], [5, 0, 0, 0, 0]] {
        // The frame's number, and the remark in the size of the largest one.
        words.push(0);
        words.extend(remark);
        words.resize(words.len() + 7, 0);
    }
    let bytes = words.into_iter().flat_map(u32::to_le_bytes).chain(*b"p");
    SocketEvent::Frame(ReceivedFrame {
        source: 0.into(),
        generation: 1,
        received_at_ns: clock::now_ns(),
        subscribed_at_ns: Some(0),
        data: bytes.collect::<Vec<u8>>().into(),
    })
}

/// Finer prices than the part's terms have come with each update until the feed starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_of_a_book_that_moved_to_another_part_is_unasked_and_not_malformed() {
    let adapter = adapter(FixtureKind::Echo);
    let supervisor = supervisor(&adapter, Vec::new());
    let (plan, stats) = (supervisor.plan().clone(), Arc::clone(supervisor.stats()));
    let instruments = supervisor.instruments().to_vec();
    let (sender, inputs) = input_queue(InputBounds { events: 64, bytes: 1 << 20 });
    let sockets = FeedSockets::start(&plan, SocketOptions::default(), Budgets::default(), sender.clone());
    let sockets = Arc::new(sockets.unwrap());
    let start_ns = clock::now_ns();
    let auditor = Arc::new(Auditor::new(origin(start_ns)));
    let feed = auditor.feed(EXCHANGE);
    let id = StreamId::new(DataType::OrderBook, EXCHANGE, MarketType::Spot, &instruments[0].symbol).unwrap();
    let books = DataTypeMap::from_fn(|kind| (kind == DataType::OrderBook).then(|| (id.clone(), NUMBERED)));
    let streams = auditor.subscribe(feed, &[books], start_ns);
    let status = Arc::new(FeedStatus::new(EXCHANGE, &[DataType::OrderBook], adapter.clone()));
    status.set_running(adapter, &instruments, Arc::clone(&sockets), stats, &plan);
    let gaps = GapMonitor::new(Arc::clone(&auditor), feed, streams, &plan, start_ns);
    let pipeline = RunningPipeline::start(supervisor, inputs, &sockets, &status, gaps);
    let metrics = &pipeline.metrics;
    let malformed = metrics.collector_errors.with_label_values(&[EXCHANGE, ANY, "malformed"]);
    let unasked = metrics.unasked.with_label_values(&[EXCHANGE, DataType::OrderBook.as_str()]);
    let counted = || (malformed.get(), unasked.get());
    for (sent, expected) in [(1, (1, 0)), (2, (1, 1)), (3, (1, 2))] {
        // One by one: the fixture gives one frame back.
        sender.send(unreadable_update()).await.unwrap();
        eventually("it is counted", || async { malformed.get() + unasked.get() == sent }).await;
        assert_eq!(counted(), expected);
        status.end_instruments(&[key_of(&instruments[0])], InstrumentEnd::Moved);
        status.ended_instruments().await;
    }
    pipeline.stop();
    let audits = auditor.close(clock::now_ns() + 9 * SECOND, auditor.frontier_ns(), 1_000);
    assert_eq!(audits.iter().flat_map(|audit| &audit.feeds).map(|feed| feed.malformed).sum::<u64>(), 1);
}
