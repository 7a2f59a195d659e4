//! A part after one of its instruments has moved to another one, for its new terms: its connection still has the subscription.

use std::sync::Arc;

use marketprism_adapter_host::contract::{self, Feed};
use marketprism_adapter_host::fixtures::{ECHO_AT, EXCHANGE, FixtureKind, component};
use marketprism_adapter_host::{Adapter, AdapterSupervisor, Engine, FaultPolicy, Limits, Sandbox, Stats};
use marketprism_edge::audit::Auditor;
use marketprism_edge::feed::{FeedStatus, InstrumentEnd, Pipeline, PipelineParts, SourceMap, key_of};
use marketprism_edge::gaps::GapMonitor;
use marketprism_edge::queue::{DiscardQueue, QueueLane};
use marketprism_edge::telemetry::{ANY, Metrics};
use marketprism_schema::{DataType, DataTypeMap, MarketType, StreamId};
use marketprism_service::clock;
use marketprism_socket::{
    Budgets, FeedSockets, InputBounds, ReceivedFrame, SocketEvent, SocketOptions, input_queue,
};
use marketprism_tests::wait::eventually;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::auditing::setup::{NUMBERED, SECOND, origin};
use crate::records::{builder, options};

fn start(adapter: &Adapter) -> AdapterSupervisor {
    let limits = Limits::default();
    let feed = Feed {
        exchange: EXCHANGE.to_owned(),
        symbols: Vec::new(),
        market_types: Vec::new(),
        data_types: vec![contract::DataType::Trade],
        depth: 1,
        endpoints: Vec::new(),
    };
    let mut first = Sandbox::new(adapter, &Arc::new(limits.clone()), &Arc::new(Stats::default())).unwrap();
    let instruments = first.instruments(&feed, &[]).unwrap();
    AdapterSupervisor::start(adapter, &limits, FaultPolicy::default(), feed, instruments, None).unwrap()
}

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
    let engine = Engine::new(None).unwrap();
    let adapter = Adapter::from_bytes(&engine, &component(FixtureKind::Echo), &Limits::default()).unwrap();
    let supervisor = start(&adapter);
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
    let (metrics, abort) = (Metrics::new().unwrap(), CancellationToken::new());
    let pipeline = Pipeline::new(PipelineParts {
        inputs,
        builder: builder(EXCHANGE, &instruments, options(1)),
        sources: SourceMap::new(&plan, 1),
        adapter: supervisor,
        sockets: Arc::downgrade(&sockets),
        queue: Arc::new(DiscardQueue::default()),
        lane: QueueLane::default(),
        status: Arc::clone(&status),
        metrics: metrics.clone(),
        backfill: None,
        positions: None,
        gaps: GapMonitor::new(Arc::clone(&auditor), feed, streams, &plan, start_ns),
        observer: None,
        abort: abort.clone(),
        progress: Arc::default(),
    });
    let runtime = Handle::current();
    let thread = std::thread::spawn(move || pipeline.run(&runtime));
    let malformed = metrics.collector_errors.with_label_values(&[EXCHANGE, ANY, "malformed"]);
    let unasked = metrics.unasked.with_label_values(&[EXCHANGE, DataType::OrderBook.as_str()]);
    let counted = || (malformed.get(), unasked.get());
    for (sent, expected) in [(1, (1, 0)), (2, (1, 1)), (3, (1, 2))] {
        // One by one: the fixture gives one frame back.
        sender.send(unreadable_update()).await.unwrap();
        eventually("it is counted", || async { (malformed.get() + unasked.get() == sent).then_some(()) })
            .await;
        assert_eq!(counted(), expected);
        status.end_instruments(&[key_of(&instruments[0])], InstrumentEnd::Moved);
        status.ended_instruments().await;
    }
    abort.cancel();
    tokio::task::block_in_place(|| thread.join()).unwrap();
    let audits = auditor.close(clock::now_ns() + 9 * SECOND, auditor.frontier_ns(), 1_000);
    assert_eq!(audits.iter().flat_map(|audit| &audit.feeds).map(|feed| feed.malformed).sum::<u64>(), 1);
}
