//! Promise: a venue that sends more than the edge can take harms only its own feed, and nothing left behind at a stop is kept quiet.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{FutureExt, SinkExt, StreamExt};
use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind};
use marketprism_tests::broker::Broker;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::wait::{PATIENCE, eventually};
use marketprism_venue_sim::{Sim, SimConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::edge_audits::{broker_with_streams, create_streams, events_of};
use crate::sandbox::hostile_feed;
use crate::two_symbols;

const MIB: u64 = 1 << 20;

/// Binary frames of 15 MiB without a pause.
async fn flooding_venue() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let frame = Arc::new([&[0x82, 127][..], &(15 * MIB).to_be_bytes(), &vec![b'x'; 15 << 20]].concat());
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { continue };
            let mut stream = socket.into_inner();
            while stream.write_all(&frame).await.is_ok() {}
        }
    });
    (address, serving)
}

/// Thousands of frames at once, of which every other makes the adapter fault.
async fn faulting_venue() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        for number in 0..3_000 {
            let text = if number % 2 == 0 { "a" } else { "!" };
            socket.send(Message::text(text)).await.unwrap();
        }
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
    });
    (address, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_15_mib_take_bounded_memory_and_delay_no_other_feed() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let client = async_nats::connect(broker.url()).await.unwrap();
    create_streams(&client).await;
    let mut trades = client.subscribe("trade.>").await.unwrap();
    let sim = Sim::start(SimConfig { start_paused: false, ..two_symbols(200) }).await.unwrap();
    let (address, flooding) = flooding_venue().await;
    let good = Feed::simulated("binance_spot", &sim.addr().to_string(), &["BTC-USDT"]);
    let feeds = [hostile_feed(folder.path(), FixtureKind::WellBehaved, &address), good];
    let mut edge = Edge::start(folder.path(), &broker.nats(), &feeds).await;
    edge.reaches("marketprism_edge_events_total", "trade", 1).await;
    edge.reaches("marketprism_edge_frames_total", EXCHANGE, 17).await;
    // Trades that came while this test waited are no measure of the edge.
    while let Some(Some(_)) = trades.next().now_or_never() {}
    let end = Instant::now() + Duration::from_secs(4);
    let delays = async {
        let (mut longest, mut count) = (Duration::ZERO, 0);
        while Instant::now() < end {
            let message = tokio::time::timeout(PATIENCE, trades.next()).await.unwrap().unwrap();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            for trade in events_of(&message) {
                let at = Duration::from_micros(trade.header.timestamp_us.try_into().unwrap());
                longest = longest.max(now.saturating_sub(at));
                count += 1;
            }
        }
        (longest, count)
    };
    let sizes = async {
        let (mut peak, mut queued) = (0, 0);
        while Instant::now() < end {
            peak = peak.max(edge.process().resident_bytes());
            queued = queued.max(edge.metric("marketprism_edge_input_queue_bytes", EXCHANGE).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (peak, queued)
    };
    let ((longest, count), (peak, queued)) = tokio::join!(delays, sizes);
    assert!(count > 100, "{count} trades of the other feed");
    // How full it gets depends on the machine; `frames_that_nobody_takes_are_bounded_in_bytes_and_none_is_lost` fills it.
    assert!(queued <= 64 * MIB, "{queued} bytes queued at most");
    println!("peak {} MiB, longest delay of {count} trades {longest:?}", peak / MIB);
    assert!(peak < 400 * MIB, "{} MiB resident", peak / MIB);
    assert!(longest < Duration::from_secs(2), "a trade of the other feed came {longest:?} late");
    assert_eq!(edge.metric("marketprism_edge_lost_events_total", "").await, 0);
    flooding.abort();
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_and_events_left_at_a_stop_are_counted_and_the_last_line_says_so() {
    let (folder, mut broker) = broker_with_streams().await;
    let sim = Sim::start(SimConfig { start_paused: false, ..two_symbols(200) }).await.unwrap();
    let (address, faulting) = faulting_venue().await;
    let good = Feed::simulated("binance_spot", &sim.addr().to_string(), &["BTC-USDT"]);
    let feeds = [hostile_feed(folder.path(), FixtureKind::Loop, &address), good];
    let nats = broker.nats();
    // The next start would send what a journal has.
    let tables = "[journal]\nenabled = false\n[sandbox]\ncall_deadline_ms = 500";
    let mut edge = Edge::with_tables(folder.path(), &nats, tables, &feeds).await;
    eventually("events are stored and the slow adapter faults", || async {
        let stored = edge.metric("marketprism_edge_acknowledged_total", "").await;
        let faults = edge.metric("marketprism_edge_adapter_faults_total", "").await;
        if stored > 100 && faults > 0 { Ok(()) } else { Err(edge.get("/metrics").await?) }
    })
    .await;
    broker.process().suspend();
    // More than the last acknowledgements under way can take away.
    edge.reaches("marketprism_edge_queue_messages", "", 21).await;
    let status = edge.process().terminate(PATIENCE).await;
    broker.process().resume();
    assert_eq!(status.code(), Some(4));
    let output = edge.process().output();
    let last = output.lines().rev().find(|line| line.contains("stopped,")).unwrap();
    assert!(last.contains("ERROR") && last.contains("are lost"), "{last}");
    let number = |name: &str| -> u64 {
        let (_, rest) = last.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{name}: {last}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    assert!(number("unprocessed") > 1_000, "{last}");
    assert!(number("undelivered") > 0, "{last}");
    assert!(!output.contains("no event was lost"), "{output}");
    faulting.abort();
    sim.stop().await;
}
