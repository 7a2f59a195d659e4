//! Promise: one edge collects hundreds of instruments with every book live, no loss, and constant memory.

use std::time::{Duration, Instant};

use marketprism_tests::broker::Broker;
use marketprism_tests::edge::Edge;
use marketprism_tests::wait::becomes;
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::Value;
use tempfile::TempDir;

use crate::edge_audits::broker_with_streams;

const EXCHANGE: &str = "binance_derivatives";
const INSTRUMENTS: usize = 300;
/// Growth of resident memory that caches and the allocator may take between the first and the second half.
const GROWTH_BYTES_MAX: u64 = 12 << 20;

async fn start() -> (TempDir, Broker, Sim, Edge) {
    let (folder, broker) = broker_with_streams().await;
    let symbols = (0..INSTRUMENTS).map(|number| format!("{EXCHANGE}:A{number:03}USDT"));
    let config = SimConfig {
        exchanges: vec![EXCHANGE.to_owned()],
        symbols: symbols.collect(),
        rate: 1000,
        trade_percent: 40,
        event_ms: Some(5000),
        ..SimConfig::default()
    };
    let sim = Sim::start(config).await.unwrap();
    let types = ["trade", "orderbook", "funding_rate", "open_interest", "liquidation"];
    let mut feed = crate::whole_venue(&sim, EXCHANGE, &types, &["perpetual"]);
    // Snapshots of twice this depth fit all books into the REST weight of the first minute.
    feed.extra.push_str("\ndepth = 50");
    let edge = Edge::start(folder.path(), &broker.nats(), &[feed]).await;
    (folder, broker, sim, edge)
}

fn live(page: &Value) -> usize {
    let instruments = page["feeds"][0]["instruments"].as_array().unwrap().iter();
    instruments.filter(|instrument| instrument["orderbook"]["state"] == "LIVE").count()
}

/// Reconnects, gaps, lost events and dropped events: constant while the venue has no faults.
async fn fault_counts(edge: &Edge, page: &Value) -> [u64; 4] {
    let connections = page["feeds"][0]["connections"].as_array().unwrap().iter();
    [
        connections
            .flat_map(|connection| connection["reconnects"].as_object().unwrap().values())
            .filter_map(Value::as_u64)
            .sum(),
        edge.metric("marketprism_edge_orderbook_gaps_total", "").await,
        edge.metric("marketprism_edge_lost_events_total", "").await,
        page["queue"]["dropped"].as_u64().unwrap(),
    ]
}

/// Observes a running edge. Its median memory may not grow from the first half of the time to the second, except for a fixed slack.
async fn steady(seconds: u64) {
    let (_folder, _broker, _sim, mut edge) = start().await;
    becomes("every book is live", || async { live(&edge.coverage().await) }, |live| *live == INSTRUMENTS)
        .await;
    let before = fault_counts(&edge, &edge.coverage().await).await;
    let started = Instant::now();
    let (mut halves, mut samples) = ([Vec::new(), Vec::new()], 0_u32);
    while started.elapsed() < Duration::from_secs(seconds) {
        let half = usize::from(started.elapsed() > Duration::from_secs(seconds) / 2);
        halves[half].push(edge.process().resident_bytes());
        if samples.is_multiple_of(10) {
            let page = edge.coverage().await;
            assert_eq!(live(&page), INSTRUMENTS, "a book is not live any more");
        }
        samples += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // A backlog that passes is no growth.
    let halves = halves.map(|mut samples: Vec<u64>| {
        samples.sort_unstable();
        samples[samples.len() / 2]
    });
    let after = edge.coverage().await;
    assert_eq!(fault_counts(&edge, &after).await, before, "reconnects, gaps, lost events, dropped");
    let published = edge.metric("marketprism_edge_published_total", "").await;
    println!(
        "{INSTRUMENTS} instruments, {seconds} s: {published} messages, memory {} MB, then {} MB, {} connections",
        halves[0] >> 20,
        halves[1] >> 20,
        after["feeds"][0]["connections"].as_array().unwrap().len()
    );
    assert!(published > 0, "nothing was published");
    assert!(halves[1] <= halves[0] + GROWTH_BYTES_MAX, "memory grows: {halves:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_instruments_are_steady() {
    steady(14).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes: a measurement"]
async fn three_hundred_instruments_are_steady_for_ten_minutes() {
    steady(600).await;
}
