//! PollTracker, their further pages, and streams that stay silent, through a whole pipeline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marketprism_adapter_host::contract::{self, Endpoint, Feed};
use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind, component};
use marketprism_adapter_host::{Adapter, AdapterSupervisor, Engine, FaultPolicy, Limits, Sandbox, Stats};
use marketprism_edge::feed::{FeedReport, FeedStatus, Pipeline, PipelineParts, PollReport, SourceMap};
use marketprism_edge::gaps::GapMonitor;
use marketprism_edge::queue::DiscardQueue;
use marketprism_edge::records::{EventEncoder, Origin};
use marketprism_edge::records::{RecordBuilder, RecordOptions, Subscription};
use marketprism_edge::telemetry::Metrics;
use marketprism_schema::DataType;
use marketprism_socket::{Budgets, FeedSockets, SilenceHint, SocketEvent, SocketOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc::channel;
use tokio_util::sync::CancellationToken;

/// Answers every request with `!`, for which the fixture asks for one more page.
async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 4_096];
        if stream.read(&mut request).await.is_ok() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n!";
            // A client that left early is no trouble here.
            let _sent = stream.write_all(answer).await;
        }
    }
}

fn start(adapter: &Adapter, url: String) -> AdapterSupervisor {
    let limits = Limits::default();
    let feed = Feed {
        exchange: EXCHANGE.into(),
        symbols: Vec::new(),
        market_types: Vec::new(),
        data_types: vec![contract::DataType::Trade],
        depth: 1,
        endpoints: vec![Endpoint { name: "ws".into(), default_url: url }],
    };
    let mut first = Sandbox::new(adapter, &Arc::new(limits.clone()), &Arc::new(Stats::default())).unwrap();
    let instruments = first.instruments(&feed, &[]).unwrap();
    AdapterSupervisor::start(adapter, &limits, FaultPolicy::default(), feed, instruments, None).unwrap()
}

fn router(supervised: &AdapterSupervisor) -> RecordBuilder {
    let origin = Origin {
        edge: "edge-1".into(),
        region: "here".into(),
        adapter: "sim@1.0.0+0123456789ab".into(),
        exchange: EXCHANGE.into(),
    };
    let envelope = EventEncoder::new(origin, supervised.instruments(), [0; 8]).unwrap();
    let plan = RecordOptions {
        books: None,
        asked: Subscription::everything(1),
        depth: 1,
        contiguous_trade_ids: false,
        deduplicate: true,
        every_update: false,
    };
    RecordBuilder::new(plan, envelope, 1)
}

async fn wait_for(status: &FeedStatus, what: &str, is_there: impl Fn(&FeedReport) -> bool) -> FeedReport {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let report = status.report();
        if is_there(&report) {
            return report;
        }
        assert!(Instant::now() < until, "{what}: {report:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Goal: a page that an answer asks for is asked for, its failure is counted by reason at the poll, and the polls go on; a stream that
/// never brought anything is counted as such.
/// Method: a poll that is answered, whose next page stands at an address where nobody listens; a silent stream told by the sockets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_asked_for_and_polls_are_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/first", listener.local_addr().unwrap());
    let server = tokio::spawn(serve(listener));
    let engine = Engine::new(None).unwrap();
    let adapter =
        Adapter::from_bytes(&engine, &component(FixtureKind::FollowUpForever), &Limits::default()).unwrap();
    let supervised = start(&adapter, url);
    let plan = supervised.plan().clone();
    let (sender, inputs) = channel(64);
    let sockets =
        FeedSockets::start(&plan, SocketOptions::default(), Budgets::default(), sender.clone()).unwrap();
    let sockets = Arc::new(sockets);
    let status = Arc::new(FeedStatus::new(EXCHANGE, &[DataType::Trade], adapter));
    let (metrics, abort) = (Metrics::new().unwrap(), CancellationToken::new());
    let pipeline = Pipeline::new(PipelineParts {
        inputs,
        router: router(&supervised),
        sources: SourceMap::new(&plan, 1),
        adapter: supervised,
        sockets: Arc::downgrade(&sockets),
        journal: Arc::new(DiscardQueue::default()),
        status: Arc::clone(&status),
        metrics: metrics.clone(),
        watch: GapMonitor::off(&plan),
        tap: None,
        abort: abort.clone(),
    });
    let runtime = Handle::current();
    let thread = std::thread::spawn(move || pipeline.run(&runtime));
    let silent = SocketEvent::Silent {
        source: 0.into(),
        stream: 0.into(),
        data_type: contract::DataType::Trade,
        instrument: Some(0.into()),
        connection: "main".into(),
        url: "ws://venue.example/wrong".into(),
        silence_ms: 60_000,
        hint: SilenceHint::NeverSeen,
    };
    sender.send(silent).await.unwrap();
    let polls =
        |report: &FeedReport| -> Option<PollReport> { report.polls.first().map(|(_, polls)| polls.clone()) };
    let report = wait_for(&status, "two answers and a failed page", |report| {
        polls(report).is_some_and(|polls| polls.answers >= 2 && polls.failures.contains_key("connect"))
    })
    .await;
    let polls = polls(&report).unwrap();
    assert_eq!((polls.polls, polls.never_succeeded), (1, 0));
    assert!(polls.oldest_success_ns.is_some());
    let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
    let name = "marketprism_edge_silent_streams_total";
    let labels = "{data_type=\"trade\",exchange=\"sim_hostile\",hint=\"never_seen\"}";
    assert!(text.contains(&format!("{name}{labels} 1\n")), "{text}");
    abort.cancel();
    tokio::task::block_in_place(|| thread.join()).unwrap();
    drop(sockets);
    server.abort();
}
