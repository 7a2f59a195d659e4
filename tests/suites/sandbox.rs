//! Promise: a hostile adapter harms only itself.

use std::path::Path;
use std::time::Duration;

use futures_util::SinkExt;
use futures_util::future::join_all;
use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind, component};
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::stack::Stack;
use marketprism_venue_sim::{Sim, SimConfig};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

pub(crate) fn hostile_feed(folder: &Path, kind: FixtureKind, address: &str) -> Feed {
    let adapter = folder.join(format!("{kind:?}.wasm"));
    std::fs::write(&adapter, component(kind)).unwrap();
    Feed {
        exchange: EXCHANGE.to_owned(),
        adapter,
        symbols: vec!["BTC-USDT".to_owned()],
        data_types: vec!["trade".to_owned()],
        ws: format!("ws://{address}"),
        rest: String::new(),
        backfill: false,
        extra: String::new(),
    }
}

/// A venue for the hostile adapter: alternates a frame that triggers the fault and one that does not.
async fn triggering_venue() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else { continue };
            for text in ["!", "a harmless frame"].iter().cycle() {
                if socket.send(Message::text(*text)).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    (address, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_adapter_harms_only_itself() {
    let stack = Stack::start().await;
    let symbols = ["BTC", "ETH", "SOL", "XRP", "DOGE"];
    let listed = symbols.map(|symbol| format!("{symbol}USDT")).to_vec();
    let sim = Sim::start(SimConfig { symbols: listed, rate: 300, ..SimConfig::default() }).await.unwrap();
    let kinds = [
        (FixtureKind::Loop, "deadline"),
        (FixtureKind::MemoryBomb, "memory"),
        (FixtureKind::Trap, "trap"),
        (FixtureKind::Recursion, "stack_overflow"),
        (FixtureKind::HugeList, "invalid_output"),
    ];
    // An edge each, with an instrument of its own at the venue that they share.
    let mut edges = Vec::new();
    for ((kind, cause), symbol) in kinds.into_iter().zip(symbols) {
        let (address, triggering) = triggering_venue().await;
        let symbol = format!("{symbol}-USDT");
        let good = Feed::simulated("binance_spot", &sim.addr().to_string(), &[&symbol]);
        let feeds = [hostile_feed(stack.folder.path(), kind, &address), good];
        // Short enough for the endless loop to run into it.
        let nats = format!("urls = [{:?}]\n[sandbox]\ncall_deadline_ms = 500", stack.broker.url());
        let name = cause.replace('_', "-");
        let edge = Edge::start_as(&name, stack.folder.path(), &nats, &feeds).await;
        edges.push((edge, triggering, kind, cause, symbol));
    }
    let stack = &stack;
    join_all(edges.into_iter().map(async |(mut edge, triggering, kind, cause, symbol)| {
        faults_counted(&edge, cause).await;
        let rows = format!("SELECT count() FROM marketprism_hot.trades WHERE symbol = '{symbol}'");
        let before = stack.clickhouse.number(&rows).await.unwrap();
        stack.clickhouse.reaches(&rows, before + 51).await;
        let lost = edge.metric("marketprism_edge_lost_events_total", "").await;
        assert_eq!(lost, 0, "{kind:?}: events of the other venue were lost");
        assert!(edge.process().is_running(), "{kind:?}: the edge is gone");
        let memory = edge.process().resident_bytes();
        assert!(memory < 200 << 20, "{kind:?}: {memory} bytes");
        assert!(kept_frames(&edge) > 0, "{kind:?}: no frame was kept in quarantine");
        triggering.abort();
    }))
    .await;
}

async fn faults_counted(edge: &Edge, cause: &str) {
    edge.reaches("marketprism_edge_adapter_faults_total", &format!("cause=\"{cause}\""), 1).await;
}

fn kept_frames(edge: &Edge) -> usize {
    std::fs::read_dir(edge.folder().join("data/quarantine")).map_or(0, Iterator::count)
}

#[test]
fn a_file_that_is_no_adapter_is_refused_with_the_reason() {
    for (kind, expected) in [
        (FixtureKind::UndeclaredImport, "sim:host/clock"),
        (FixtureKind::Contract("2.0.0"), "targets contract 2.0.0, this edge supports 1."),
        (FixtureKind::CoreModule, "component"),
        (FixtureKind::OtherWorld, "marketprism:adapter"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let edge = Edge::prepared(
            folder.path(),
            "urls = [\"nats://127.0.0.1:9\"]",
            &[hostile_feed(folder.path(), kind, "127.0.0.1:9")],
        );
        let (passes, message) = edge.check();
        assert!(!passes && message.contains(expected), "{kind:?}: {message}");
        assert!(message.contains("feed[0].adapter"), "{kind:?}: {message}");
    }
}
