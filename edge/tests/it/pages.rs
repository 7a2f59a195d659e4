//! The edge's HTTP pages.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind};
use marketprism_config::check_generated;
use marketprism_edge::audit::Auditor;
use marketprism_edge::broker::BrokerLink;
use marketprism_edge::config::Http;
use marketprism_edge::feed::{EdgeContext, FeedRoster, FeedStatus};
use marketprism_edge::http::{EdgeState, bind};
use marketprism_edge::queue::{EventQueue, MemoryQueue, QueueLane, QueueLimits};
use marketprism_edge::reload::ReloadHandle;
use marketprism_edge::telemetry::{Coverage, Metrics};
use marketprism_schema::{DataType, InvalidKind, InvalidValue};
use marketprism_service::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::broker::record;
use crate::configuration::{folder, good, read};
use crate::feeds::adapter;

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
    let adapter = adapter(FixtureKind::WellBehaved);
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
        started_ns: clock::now_ns(),
        host: "host".to_owned(),
        grace,
        feeds: Arc::new(FeedRoster::new(vec![Arc::new(FeedStatus::new(
            EXCHANGE,
            &[DataType::Trade],
            adapter,
        ))])),
        link: Arc::new(BrokerLink::new(&marketprism_config::Nats::default(), "test")),
        access: Arc::default(),
        reload: Arc::new(ReloadHandle::new().0),
        swaps: Arc::default(),
        certificates: Arc::default(),
    }
}

/// The grace time hides other reasons: nothing else runs here.
#[tokio::test]
async fn symbols_that_are_not_listed_degrade_the_health_and_are_named() {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = bind(&Http { listen: local, metrics_listen: local, ..Http::default() }).await.unwrap();
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
            ..Http::default()
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
        let health: serde_json::Value = serde_json::from_str(&health).unwrap();
        let trade = &health["coverage"]["trade"]["sim_hostile"];
        assert_eq!((&trade["status"], trade["age_seconds"].is_u64()), (&"ok".into(), true), "{health}");
        assert!(trade["last_success_ts"].as_i64() > Some(1_700_000_000), "{health}");
        let book = serde_json::json!({ "last_success_ts": null, "age_seconds": null, "status": "missing" });
        assert_eq!(health["coverage"]["orderbook"]["sim_hostile"], book);
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
        assert_eq!(cells.len(), DataType::ALL.len(), "every data type has a cell");
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

#[tokio::test]
async fn health_is_degraded_while_events_are_refused_and_not_longer() {
    let mut state = state(Duration::from_secs(60));
    let refused = InvalidValue {
        kind: InvalidKind::Time,
        field: "timestamp",
        value: "1763800000".to_owned(),
        allowed: "1230768000000000 to 1763886400000000".to_owned(),
    };
    let now = Instant::now();
    let feed = Arc::clone(&state.feeds.list()[0]);
    feed.refused(DataType::Trade, &refused, now - Duration::from_secs(3));
    feed.refused(DataType::Trade, &refused, now);
    let health = |state: EdgeState| async move {
        let (main, _, stop) = serve(state).await;
        let (status, health) = get(main, "/health").await;
        stop.cancel();
        let health: serde_json::Value = serde_json::from_str(&health).unwrap();
        (status, health["status"].clone(), health["degraded"].to_string())
    };
    assert_eq!(feed.refusals(now + Duration::from_secs(59)).len(), 1);
    assert!(feed.refusals(now + Duration::from_secs(60)).is_empty());
    let (status, word, reasons) = health(state).await;
    assert_eq!((status, word.as_str()), (200, Some("degraded")), "{reasons}");
    let reason = "sim_hostile trade: 2 events refused and lost in 3 s, the newest: timestamp: is 1763800000, allowed: 1230768000000000 to";
    assert!(reasons.contains(reason), "{reasons}");
    state = self::state(Duration::from_secs(60));
    assert_eq!(health(state).await.1, "healthy");
}

async fn serve(state: EdgeState) -> (SocketAddr, SocketAddr, CancellationToken) {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let http = Http { listen: local, metrics_listen: local, ..Http::default() };
    let bound = bind(&http).await.unwrap();
    let (main, metrics) = bound.addresses().unwrap();
    let stop = CancellationToken::new();
    drop(tokio::spawn(bound.serve(Arc::new(state), stop.clone())));
    (main, metrics, stop)
}

/// The first scrape of an edge whose feed has not even started.
#[tokio::test]
async fn every_counter_is_at_0_before_its_first_event_and_every_metric_is_in_the_readme() {
    let (_, metrics, stop) = serve(state(Duration::ZERO)).await;
    let (_, text) = get(metrics, "/metrics").await;
    stop.cancel();
    let samples: Vec<(&str, &str)> = text.lines().filter_map(|line| line.rsplit_once(' ')).collect();
    for definition in Metrics::METRICS.iter().filter(|definition| definition.kind != "gauge") {
        let is_poll = definition.name.contains("_poll_");
        let is_book = definition.name.contains("_orderbook_");
        let suffix = if definition.kind == "histogram" { "_count" } else { "" };
        let name = format!("{}{suffix}", definition.name);
        let mut found =
            samples.iter().filter(|(series, _)| series.split('{').next() == Some(&name)).peekable();
        // The feed of this test has neither.
        assert!(is_poll || is_book || found.peek().is_some(), "{name} has no series: {text}");
        assert!(found.all(|(_, value)| *value == "0"), "{name} is not 0: {text}");
    }
    for series in [
        "marketprism_edge_lost_events_total{cause=\"queue_full\",data_type=\"trade\"}",
        "marketprism_edge_lost_events_total{cause=\"invalid_time\",data_type=\"trade\"}",
        "marketprism_edge_lost_events_total{cause=\"stop_unprocessed\",data_type=\"any\"}",
        "marketprism_collector_errors_total{code=\"malformed\",data_type=\"any\",exchange=\"sim_hostile\"}",
        "marketprism_collector_errors_total{code=\"region_blocked\",data_type=\"trade\",exchange=\"sim_hostile\"}",
        "marketprism_edge_socket_events_total{exchange=\"sim_hostile\",what=\"closed_lost\"}",
        "marketprism_venue_to_edge_seconds_count{data_type=\"trade\",exchange=\"sim_hostile\"}",
    ] {
        assert!(samples.contains(&(series, "0")), "{series} is not in {text}");
    }
    let rows = Metrics::METRICS.iter().map(|definition| {
        let labels: Vec<String> = definition.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (definition.name, definition.kind, labels.join(", "));
        format!("| `{name}` | {kind} | {labels} | {} |\n", definition.help.trim())
    });
    let table =
        format!("| metric | type | labels | meaning |\n|---|---|---|---|\n{}", rows.collect::<String>());
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let begin = "<!-- Metrics: generated; the test of the pages rewrites it. -->\n";
    check_generated(&readme, (begin, "<!-- End of the metrics. -->\n"), &table).unwrap();
}
