//! Promise: a symbol that the venue does not list costs only itself, and instruments come and go without touching any other stream.

use std::collections::BTreeSet;
use std::time::Duration;

use marketprism_schema::{AuditPayload, DowntimeReason, GapKind, decode_audit_payload};
use marketprism_tests::broker::Broker;
use marketprism_tests::edge::{Edge, Feed, check_online};
use marketprism_tests::wait::until;
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::edge_audits::{create_streams, messages};

const EXCHANGE: &str = "binance_spot";
const AUDIT: &str = "[audit]\nwindow_seconds = 1\nsettle_ms = 300";
const TIME: Duration = Duration::from_secs(40);

async fn sim(symbols: &[&str]) -> Sim {
    let symbols = symbols.iter().map(|&symbol| symbol.to_owned()).collect();
    let exchanges = vec![EXCHANGE.to_owned()];
    Sim::start(SimConfig { exchanges, symbols, rate: 200, ..SimConfig::default() }).await.unwrap()
}

fn feed(sim: &Sim, symbols: &[&str], extra: &str) -> Feed {
    let feed = Feed::simulated(EXCHANGE, &sim.addr().to_string(), symbols);
    Feed { extra: extra.to_owned(), ..feed }
}

async fn page(edge: &Edge) -> Value {
    serde_json::from_str(&edge.get("/coverage").await.unwrap()).unwrap()
}

/// Part, state of the book and its epoch, where the instrument is collected.
fn collected(page: &Value, symbol: &str) -> Option<(u64, String, u64)> {
    page["feeds"].as_array().unwrap().iter().find_map(|feed| {
        let instruments = feed["instruments"].as_array().unwrap().iter();
        let mut listed = instruments.filter(|one| one["symbol"] == symbol && one["delisted"] == false);
        let book = &listed.next()?["orderbook"];
        Some((feed["part"].as_u64()?, book["state"].as_str()?.to_owned(), book["epoch"].as_u64()?))
    })
}

/// Waits until the instrument's book is live, and returns part and epoch.
async fn live(edge: &Edge, symbol: &str) -> (u64, u64) {
    until("the book is live", TIME, || async {
        match collected(&page(edge).await, symbol) {
            Some((part, state, epoch)) if state == "LIVE" => Ok((part, epoch)),
            other => Err(format!("{symbol}: {other:?}")),
        }
    })
    .await
}

async fn not_listed(edge: &Edge, expected: &[&str]) {
    until("the symbols that are not listed are named", TIME, || async {
        let page = page(edge).await;
        let named = &page["feeds"][0]["not_listed"];
        if *named == json!(expected) { Ok(()) } else { Err(named.to_string()) }
    })
    .await;
}

/// Waits until only the first part is left.
async fn alone(edge: &Edge) {
    until("the part of the delisted instrument has ended", TIME, || async {
        let parts = page(edge).await["feeds"].as_array().unwrap().len();
        if parts == 1 { Ok(()) } else { Err(format!("{parts} parts")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instruments_come_and_go_and_touch_no_other_stream() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    create_streams(&broker).await;
    let sim = sim(&["BTCUSDT", "SOLUSDT", "STXUSDT"]).await;
    sim.set_listed(EXCHANGE, "SOLUSDT", false).unwrap();
    let extra = "listing_interval_ms = 1000\nexclude = [\"STX-*\"]";
    let feed = feed(&sim, &["BTC-USDT", "GONE-USDT", "S*-USDT"], extra);
    let nats = format!("urls = [{:?}]\n{AUDIT}", broker.url());
    let mut edge = Edge::start(folder.path(), &nats, &[feed]).await;
    let untouched = live(&edge, "BTC-USDT").await;
    let sockets = || -> BTreeSet<u64> { sim.connections().iter().map(|connection| connection.id).collect() };
    let before = sockets();
    not_listed(&edge, &["GONE-USDT", "S*-USDT"]).await;
    let health: Value = serde_json::from_str(&edge.get("/health").await.unwrap()).unwrap();
    assert_eq!(health["status"], "degraded", "{health}");
    assert!(health["degraded"].to_string().contains("GONE-USDT, S*-USDT"), "{health}");
    assert_eq!(edge.metric("marketprism_edge_symbols_not_listed", EXCHANGE).await, 2);

    for part in [1, 2] {
        sim.set_listed(EXCHANGE, "SOLUSDT", true).unwrap();
        assert_eq!(live(&edge, "SOL-USDT").await.0, part);
        not_listed(&edge, &["GONE-USDT"]).await;
        sim.set_listed(EXCHANGE, "SOLUSDT", false).unwrap();
        alone(&edge).await;
    }
    assert_eq!(live(&edge, "BTC-USDT").await, untouched, "part and epoch");
    assert_eq!(sockets(), before, "the same sockets");
    assert!(collected(&page(&edge).await, "STX-USDT").is_none(), "excluded");
    for change in ["listed", "delisted"] {
        assert_eq!(edge.metric("marketprism_edge_listing_changes_total", &format!("\"{change}\"")).await, 2);
    }
    assert!(edge.process().terminate(TIME).await.success());
    check_audits(&broker).await;
}

/// The delisted streams end, twice, and have no gap but their starts; the others have none but start and stop.
async fn check_audits(broker: &Broker) {
    let (mut ends, mut resumed, mut named) = (0, 0, false);
    for message in messages(broker, "AUDIT").await {
        match decode_audit_payload(&message.payload).unwrap() {
            AuditPayload::Downtime(downtime) if downtime.reason == DowntimeReason::Delisted => {
                assert_eq!(downtime.streams.len(), 2, "trades and books: {downtime:?}");
                assert!(downtime.streams.iter().all(|stream| stream.symbol == "SOL-USDT"));
                if downtime.to.is_some() { resumed += 1 } else { ends += 1 }
            }
            AuditPayload::Downtime(_) => {}
            AuditPayload::Audit(audit) => {
                for stream in &audit.streams {
                    let is_known = |kind| match stream.id.symbol.as_str() {
                        "SOL-USDT" => kind == GapKind::Start,
                        _ => matches!(kind, GapKind::Start | GapKind::Stop),
                    };
                    assert!(stream.gaps.iter().all(|gap| is_known(gap.kind)), "{stream:?}");
                }
                let [feed] = audit.feeds.as_slice() else { panic!("one exchange: {:?}", audit.feeds) };
                named |= feed.not_listed.iter().any(|symbol| symbol == "GONE-USDT");
            }
        }
    }
    assert_eq!((ends, resumed, named), (2, 1, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_online_names_what_a_venue_does_not_list() {
    let folder = tempfile::tempdir().unwrap();
    let sim = sim(&["BTCUSDT", "ETHUSDT"]).await;
    for (symbols, passes, expected) in [
        (&["BTC-*", "ETH-USDT"][..], true, "2 instruments listed"),
        (
            &["ETH-USDT", "BTCUSDT"],
            false,
            "does not list BTCUSDT (allowed: an instrument that binance_spot lists, such as BTC-USDT",
        ),
        (&["BTC-USD*", "LUNA-*"], false, "does not list LUNA-*"),
        (&["BTC-EUR*"], false, "none of [\"BTC-EUR*\"]"),
    ] {
        let edge = Edge::prepared(folder.path(), "", &[feed(&sim, symbols, "")]);
        let (passed, text) = block_in_place(|| check_online(&edge.folder().join("edge.toml")));
        assert!(passed == passes && text.contains(expected), "{symbols:?}: {text}");
    }
}
