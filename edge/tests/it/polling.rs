//! Polls, their further pages, and silent streams, through a whole pipeline.

use std::sync::Arc;
use std::time::Duration;

use marketprism_adapter_host::contract::{self, Endpoint, Feed};
use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind, component};
use marketprism_adapter_host::{Adapter, AdapterSupervisor, Engine, FaultPolicy, Limits, Sandbox, Stats};
use marketprism_edge::feed::{FeedStatus, Pipeline, PipelineParts, SourceMap};
use marketprism_edge::gaps::GapMonitor;
use marketprism_edge::queue::{DiscardQueue, QueueLane};
use marketprism_edge::telemetry::Metrics;
use marketprism_schema::DataType;
use marketprism_socket::{
    Budgets, FeedSockets, InputBounds, SilenceHint, SocketEvent, SocketOptions, input_queue,
};
use marketprism_tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::records::{builder, options};

/// Answers every request with `!`, for which the fixture asks for one more page.
pub async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 4_096];
        if stream.read(&mut request).await.is_ok() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n!";
            // The client may have left.
            let _sent = stream.write_all(answer).await;
        }
    }
}

fn start(adapter: &Adapter, url: String) -> AdapterSupervisor {
    let limits = Limits { call_deadline: Duration::from_secs(10), ..Limits::default() };
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

/// The poll is answered; its next page is at an address where nobody listens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_page_is_counted_at_its_poll_which_goes_on_and_a_stream_without_messages_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/first", listener.local_addr().unwrap());
    let server = tokio::spawn(serve(listener));
    let engine = Engine::new(None).unwrap();
    let adapter =
        Adapter::from_bytes(&engine, &component(FixtureKind::FollowUpForever), &Limits::default()).unwrap();
    let supervisor = start(&adapter, url);
    let plan = supervisor.plan().clone();
    let (sender, inputs) = input_queue(InputBounds { events: 64, bytes: 1 << 20 });
    let sockets =
        FeedSockets::start(&plan, SocketOptions::default(), Budgets::default(), sender.clone()).unwrap();
    let sockets = Arc::new(sockets);
    let status = Arc::new(FeedStatus::new(EXCHANGE, &[DataType::Trade], adapter));
    let (metrics, abort) = (Metrics::new().unwrap(), CancellationToken::new());
    let pipeline = Pipeline::new(PipelineParts {
        inputs,
        builder: builder(EXCHANGE, supervisor.instruments(), options(1)),
        sources: SourceMap::new(&plan, 1),
        adapter: supervisor,
        sockets: Arc::downgrade(&sockets),
        queue: Arc::new(DiscardQueue::default()),
        lane: QueueLane::default(),
        status: Arc::clone(&status),
        metrics: metrics.clone(),
        backfill: None,
        positions: None,
        gaps: GapMonitor::off(&plan),
        observer: None,
        abort: abort.clone(),
        progress: Arc::default(),
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
    let polls = eventually("two answers and a failed page", || async {
        let polls = status.report().polls.into_iter().map(|(_, polls)| polls).next();
        polls.filter(|polls| polls.answers >= 2 && polls.failures.contains_key("connect"))
    })
    .await;
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
