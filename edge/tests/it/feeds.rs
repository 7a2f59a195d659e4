//! Feeds of fixture adapters: adapter, supervisor, pipeline, and a feed with its task.

use std::sync::Arc;
use std::time::Duration;

use marketprism_adapter_host::contract::{DataType, Endpoint, Feed};
use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind, component};
use marketprism_adapter_host::{Adapter, AdapterSupervisor, Engine, FaultPolicy, Limits, Sandbox, Stats};
use marketprism_edge::audit::Auditor;
use marketprism_edge::config::{CurrentAdapter, FeedConfig};
use marketprism_edge::feed::{
    EdgeContext, FeedContext, FeedRoster, FeedSetup, FeedStatus, FrameObserver, InstrumentKey, PartSet,
    PartStart, Pipeline, PipelineParts, SourceMap, StreamMemories, key_of, run_feed,
};
use marketprism_edge::gaps::GapMonitor;
use marketprism_edge::queue::{DiscardQueue, QueueLane};
use marketprism_edge::telemetry::Metrics;
use marketprism_schema::{Capability, DataType as EventType, DataTypeMap, MarketType, StreamId};
use marketprism_service::clock;
use marketprism_socket::{
    Budgets, FeedSockets, InputBounds, InputReceiver, InputSender, SocketOptions, input_queue,
};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::auditing::setup::origin;
use crate::records::{builder, options};

pub fn adapter(kind: FixtureKind) -> Adapter {
    Adapter::from_bytes(&Engine::new(None).unwrap(), &component(kind), &Limits::default()).unwrap()
}

/// No call of a busy machine is cut off.
pub fn supervisor(adapter: &Adapter, endpoints: Vec<Endpoint>) -> AdapterSupervisor {
    let limits = Limits { call_deadline: Duration::from_secs(10), ..Limits::default() };
    let feed = Feed {
        exchange: EXCHANGE.to_owned(),
        symbols: Vec::new(),
        market_types: Vec::new(),
        data_types: vec![DataType::Trade],
        depth: 1,
        endpoints,
    };
    let mut first = Sandbox::new(adapter, &Arc::new(limits.clone()), &Arc::new(Stats::default())).unwrap();
    let instruments = first.instruments(&feed, &[]).unwrap();
    AdapterSupervisor::start(adapter, &limits, FaultPolicy::default(), feed, instruments, None).unwrap()
}

/// A pipeline on a thread of its own, whose events are discarded.
pub struct RunningPipeline {
    pub metrics: Metrics,
    abort: CancellationToken,
    thread: std::thread::JoinHandle<StreamMemories>,
}

impl RunningPipeline {
    pub fn start(
        adapter: AdapterSupervisor,
        inputs: InputReceiver,
        sockets: &Arc<FeedSockets>,
        status: &Arc<FeedStatus>,
        gaps: GapMonitor,
    ) -> Self {
        let (metrics, abort) = (Metrics::new().unwrap(), CancellationToken::new());
        let pipeline = Pipeline::new(PipelineParts {
            inputs,
            builder: builder(EXCHANGE, adapter.instruments(), options(1)),
            sources: SourceMap::new(adapter.plan(), 1),
            adapter,
            sockets: Arc::downgrade(sockets),
            queue: Arc::new(DiscardQueue::default()),
            lane: QueueLane::default(),
            status: Arc::clone(status),
            metrics: metrics.clone(),
            backfill: None,
            positions: None,
            gaps,
            observer: None,
            abort: abort.clone(),
            progress: Arc::default(),
        });
        let runtime = Handle::current();
        Self { metrics, abort, thread: std::thread::spawn(move || pipeline.run(&runtime)) }
    }

    pub fn stop(self) {
        self.abort.cancel();
        tokio::task::block_in_place(|| self.thread.join()).unwrap();
    }
}

/// A pipeline over the echoing fixture whose stream of one data type is audited. It gives back the frames that are sent.
pub struct AuditedPipeline {
    pub sender: InputSender,
    pub auditor: Arc<Auditor>,
    pub status: Arc<FeedStatus>,
    pub instrument: InstrumentKey,
    pub pipeline: RunningPipeline,
    pub sockets: Arc<FeedSockets>,
}

impl AuditedPipeline {
    pub fn start(kind: EventType, capability: Capability) -> Self {
        Self::opened_by(0, kind, capability)
    }

    /// The venue is to answer so many messages that open the connection.
    pub fn opened_by(messages: usize, kind: EventType, capability: Capability) -> Self {
        let adapter = adapter(FixtureKind::Echo);
        let supervisor = supervisor(&adapter, Vec::new());
        let (mut plan, stats) = (supervisor.plan().clone(), Arc::clone(supervisor.stats()));
        plan.connections[0].on_open = vec!["subscribe".to_owned(); messages];
        let instruments = supervisor.instruments().to_vec();
        let (sender, inputs) = input_queue(InputBounds { events: 64, bytes: 1 << 20 });
        let sockets = FeedSockets::start(&plan, SocketOptions::default(), Budgets::default(), sender.clone());
        let sockets = Arc::new(sockets.unwrap());
        let start_ns = clock::now_ns();
        let auditor = Arc::new(Auditor::new(origin(start_ns)));
        let feed = auditor.feed(EXCHANGE);
        let id = StreamId::new(kind, EXCHANGE, MarketType::Spot, &instruments[0].symbol).unwrap();
        let of_kind = DataTypeMap::from_fn(|one| (one == kind).then(|| (id.clone(), capability)));
        let streams = auditor.subscribe(feed, &[of_kind], start_ns);
        let status = Arc::new(FeedStatus::new(EXCHANGE, &[kind], adapter.clone()));
        status.set_running(adapter, &instruments, Arc::clone(&sockets), stats, &plan);
        let gaps = GapMonitor::new(Arc::clone(&auditor), feed, streams, &plan, start_ns);
        let pipeline = RunningPipeline::start(supervisor, inputs, &sockets, &status, gaps);
        let instrument = key_of(&instruments[0]);
        Self { sender, auditor, status, instrument, pipeline, sockets }
    }
}

/// Runs a feed that collects everything: its status and its task.
pub fn run(
    edge: &Arc<EdgeContext>,
    feed: &FeedConfig,
    adapter: Adapter,
    observer: Arc<dyn FrameObserver>,
) -> (Arc<FeedStatus>, JoinHandle<()>) {
    let current = CurrentAdapter::from(adapter);
    let setup = FeedSetup::new(edge, feed, &current, true).unwrap();
    let place = (edge.auditor.feed(&feed.exchange), QueueLane::default());
    let context = FeedContext::new(edge, setup, place, current, Some(observer));
    let status = Arc::clone(&context.status);
    let parts = PartSet::new(context, Arc::new(FeedRoster::default()));
    (status, tokio::spawn(run_feed(Arc::new(Mutex::new(parts)), PartStart::Lists)))
}
