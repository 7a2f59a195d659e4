//! The edge's HTTP pages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind, component};
use marketprism_adapter_host::{Adapter, Engine, Limits};
use marketprism_edge::audit::Auditor;
use marketprism_edge::broker::BrokerLink;
use marketprism_edge::config::Http;
use marketprism_edge::feed::{EdgeContext, FeedRoster, FeedStatus};
use marketprism_edge::http::{EdgeState, bind};
use marketprism_edge::queue::{EventQueue, MemoryQueue, QueueLane, QueueLimits};
use marketprism_edge::telemetry::Coverage;
use marketprism_schema::DataType;
use marketprism_service::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::broker::record;
use crate::configuration::{folder, good, read};

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    get_as("localhost", address, path).await
}

async fn get_as(host: &str, address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

fn state(grace: Duration) -> EdgeState {
    let engine = Engine::new(None).unwrap();
    let adapter =
        Adapter::from_bytes(&engine, &component(FixtureKind::WellBehaved), &Limits::default()).unwrap();
    let folder = folder();
    let config = read(&good(folder.path()), folder.path(), &[]).unwrap();
    let auditor = Arc::new(Auditor::off());
    let queue = MemoryQueue::new(QueueLimits { messages: 10, bytes: 1 << 20 }, Arc::clone(&auditor));
    queue.append(QueueLane::default(), &mut vec![record("A-B", 1, None, 0, &Coverage::default())]);
    let context = EdgeContext::new(&config, Arc::new(queue), auditor).unwrap();
    let trade = context.coverage.row(EXCHANGE, DataType::Trade);
    context.coverage.row(EXCHANGE, DataType::OrderBook);
    context.coverage.confirmed([trade], clock::now_ns());
    EdgeState {
        context: Arc::new(context),
        started: Instant::now(),
        grace,
        feeds: Arc::new(FeedRoster::new(vec![Arc::new(FeedStatus::new(
            EXCHANGE,
            &[DataType::Trade],
            adapter,
        ))])),
        link: Arc::new(BrokerLink::new(&marketprism_config::Nats::default(), "test")),
    }
}

/// The grace time hides other reasons: nothing else runs here.
#[tokio::test]
async fn symbols_that_are_not_listed_degrade_the_health_and_are_named() {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound =
        bind(&Http { listen: local, metrics_listen: local, allowed_hosts: Vec::new() }).await.unwrap();
    let (main, _) = bound.addresses().unwrap();
    let (stop, state) = (CancellationToken::new(), Arc::new(state(Duration::from_secs(60))));
    let served = tokio::spawn(bound.serve(Arc::clone(&state), stop.clone()));
    let feed = state.feeds.list().remove(0);
    assert!(get(main, "/health").await.1.contains("\"status\":\"healthy\""));
    feed.set_not_listed(&(0..66).map(|number| format!("A{number}-B")).collect::<Vec<_>>());
    let (status, health) = get(main, "/health").await;
    assert_eq!(status, 200);
    let named = "sim_hostile: not listed by the venue: A0-B, A1-B";
    assert!(health.contains("\"status\":\"degraded\"") && health.contains(named), "{health}");
    assert!(health.contains("A63-B and 2 more"), "{health}");
    let (_, coverage) = get(main, "/coverage").await;
    let coverage: serde_json::Value = serde_json::from_str(&coverage).unwrap();
    assert_eq!(coverage["feeds"][0]["not_listed"].as_array().unwrap().len(), 66);
    let text = get(main, "/metrics").await.1;
    assert!(text.contains("marketprism_edge_symbols_not_listed{exchange=\"sim_hostile\"} 66\n"), "{text}");
    stop.cancel();
    served.await.unwrap();
}

#[tokio::test]
async fn health_is_unhealthy_with_every_reason_after_the_grace_time_and_metrics_have_a_listener_of_their_own()
{
    for (grace, status) in [(Duration::from_secs(60), 200), (Duration::ZERO, 503)] {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = bind(&Http {
            listen: local,
            metrics_listen: local,
            allowed_hosts: vec!["edge.example".to_owned()],
        })
        .await
        .unwrap();
        let (main, metrics) = bound.addresses().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(bound.serve(Arc::new(state(grace)), stop.clone()));
        let (health_status, health) = get(main, "/health").await;
        assert_eq!(health_status, status, "{health}");
        assert_eq!(health.contains("\"grace\":true"), status == 200);
        for reason in ["nats is not connected", "sim_hostile: starting", "sim_hostile orderbook: missing"] {
            assert!(health.contains(reason), "{reason:?} is not in {health}");
        }
        assert!(!health.contains("trade: "), "{health}");
        let (ready_status, ready) = get(main, "/ready").await;
        assert_eq!(ready_status, 503);
        assert!(ready.contains("nats is not connected"), "{ready}");
        let (_, coverage) = get(main, "/coverage").await;
        let coverage: serde_json::Value = serde_json::from_str(&coverage).unwrap();
        assert_eq!(coverage["coverage"][0]["status"], "ok");
        assert_eq!(coverage["coverage"][0]["threshold_seconds"], 60);
        assert_eq!(coverage["coverage"][1]["status"], "missing");
        assert_eq!(coverage["coverage"][1]["last_success_ts"], serde_json::Value::Null);
        let cells = coverage["coverage"].as_array().unwrap();
        assert_eq!(cells.len(), 8, "every data type has a cell");
        assert!(cells[2..].iter().all(|cell| cell["status"] == "unsupported"), "{cells:?}");
        assert_eq!((&cells[0]["lower_bound"], &cells[0]["delivery"]), (&false.into(), &"push".into()));
        let (_, adapters) = get(main, "/adapters").await;
        assert!(
            adapters.contains("\"name\":\"sim-hostile\"") && adapters.contains("\"digest\":"),
            "{adapters}"
        );
        for address in [main, metrics] {
            let (metrics_status, text) = get(address, "/metrics").await;
            assert_eq!(metrics_status, 200);
            let name = "marketprism_collector_last_success_timestamp_seconds";
            let labels = "{data_type=\"trade\",exchange=\"sim_hostile\"}";
            assert!(text.contains(&format!("{name}{labels} ")), "{text}");
            assert!(text.contains("marketprism_edge_queue_messages 1\n"), "{text}");
        }
        for address in [main, metrics] {
            let (status, text) = get_as("evil.example:8087", address, "/metrics").await;
            assert_eq!(status, 403, "{text}");
            assert!(text.contains("evil.example") && text.contains("http.allowed_hosts"), "{text}");
            assert_eq!(get_as("edge.example", address, "/metrics").await.0, 200);
        }
        assert_eq!(get(metrics, "/health").await.0, 404);
        stop.cancel();
        served.await.unwrap();
    }
}
