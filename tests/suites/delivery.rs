//! Promise: every trade of the venue is in hot ClickHouse exactly once and exact to the last digit, through kills and connection losses.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::number::{key, plain};
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::eventually;
use marketprism_venue_sim::{Sim, SimConfig};

use crate::{SYMBOLS, two_symbols};

const EXCHANGES: [&str; 4] = ["binance_spot", "binance_derivatives", "bybit_derivatives", "kraken_spot"];

/// Price, quantity, side, venue time in microseconds.
type Trade = (String, String, String, i64);
/// Trades by exchange, venue symbol and id.
type Trades = BTreeMap<(String, String, String), Trade>;

fn sent(sim: &Sim) -> Trades {
    let mut all = Trades::new();
    for exchange in EXCHANGES {
        for symbol in sim.instruments(exchange).unwrap().into_iter().map(|listed| listed.venue_symbol) {
            for trade in sim.all_trades(exchange, &symbol).unwrap() {
                let value = (
                    plain(key(&trade.price)),
                    plain(key(&trade.quantity)),
                    trade.side.to_owned(),
                    trade.trade_time_ms * 1000,
                );
                all.insert((exchange.to_owned(), symbol.clone(), trade.trade_id), value);
            }
        }
    }
    all
}

/// Stored trades and the number of rows.
async fn stored(clickhouse: &ClickHouse) -> Result<(Trades, usize), String> {
    let query = "SELECT exchange, venue_symbol, trade_id, toString(price) AS p, toString(quantity) AS q, side, \
                 toString(toUnixTimestamp64Micro(timestamp)) AS t FROM marketprism_hot.trades";
    let rows = clickhouse.rows(query).await?;
    let count = rows.len();
    let mut all = Trades::new();
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_else(|| panic!("{name}: {row}")).to_owned();
        let value =
            (plain(key(&text("p"))), plain(key(&text("q"))), text("side"), text("t").parse().unwrap());
        all.insert((text("exchange"), text("venue_symbol"), text("trade_id")), value);
    }
    Ok((all, count))
}

async fn feeds_live(edge: &Edge) {
    eventually("all feeds are ready", || edge.get("/ready")).await;
}

/// Rows must equal distinct events at any time, not only after merges.
async fn never_doubled(clickhouse: &ClickHouse) {
    let query = "SELECT count() - uniqExact(event_id) FROM marketprism_hot.trades";
    assert_eq!(clickhouse.number(query).await.unwrap(), 0, "an event is stored twice");
}

async fn rows(clickhouse: &ClickHouse) -> u64 {
    clickhouse.number("SELECT count() FROM marketprism_hot.trades").await.unwrap()
}

/// Waits for at least `more` further rows.
async fn flows(clickhouse: &ClickHouse, more: u64) {
    let before = rows(clickhouse).await;
    eventually("rows arrive", || async {
        let now = rows(clickhouse).await;
        never_doubled(clickhouse).await;
        if now >= before + more { Ok(()) } else { Err(format!("{before} rows, then {now}")) }
    })
    .await;
}

async fn compare(sim: &Sim, clickhouse: &ClickHouse) {
    let expected = sent(sim);
    assert!(expected.len() > 1000, "too few trades to prove anything: {}", expected.len());
    let found = eventually("every trade is stored", || async {
        let (found, count) = stored(clickhouse).await?;
        assert_eq!(found.len(), count, "a trade is stored twice");
        let missing: Vec<_> = expected.keys().filter(|key| !found.contains_key(*key)).collect();
        if missing.is_empty() {
            Ok(found)
        } else {
            Err(format!("{} missing, first {:?}", missing.len(), missing.first()))
        }
    })
    .await;
    for (key, trade) in &expected {
        assert_eq!(&found[key], trade, "{key:?}");
    }
    assert_eq!(found.len(), expected.len(), "trades are stored that the venue never sent");
}

fn feeds(sim: &Sim) -> Vec<Feed> {
    let address = sim.addr().to_string();
    let feed = |exchange| {
        let mut feed = Feed::simulated(exchange, &address, &SYMBOLS);
        // Keeps the back-off short through ten cuts in a row.
        feed.extra = "reconnect_wait_max_ms = 1000".to_owned();
        feed
    };
    EXCHANGES.map(feed).to_vec()
}

async fn flowing() -> (Stack, Sim, Edge) {
    let stack = Stack::start().await;
    let sim = Sim::start(config()).await.unwrap();
    let edge = stack.edge(&feeds(&sim)).await;
    feeds_live(&edge).await;
    sim.resume();
    flows(&stack.clickhouse, 300).await;
    (stack, sim, edge)
}

fn config() -> SimConfig {
    SimConfig { backlog: true, backlog_limit: 50_000, ..two_symbols(400) }
}

/// The simulator resends trades that did not provably arrive before a cut, and the edge does not fill gaps here.
#[tokio::test(flavor = "multi_thread")]
async fn every_trade_is_stored_exactly_once_through_kills_and_cuts() {
    let (mut stack, sim, edge) = flowing().await;

    stack.central.kill();
    stack.central.restart().await;
    flows(&stack.clickhouse, 300).await;

    stack.broker.kill();
    stack.broker.restart().await;
    flows(&stack.clickhouse, 300).await;

    let connected = || sim.connections().iter().map(|one| one.id).collect::<BTreeSet<_>>();
    for cut in 1..=10 {
        let before = connected();
        assert!(!before.is_empty(), "cut {cut}: nothing is connected");
        sim.cut_all();
        eventually("the sockets are back", || async {
            let now = connected();
            let are_new = now.is_disjoint(&before) && now.len() >= EXCHANGES.len();
            if are_new { Ok(()) } else { Err(format!("{before:?} before, now {now:?}")) }
        })
        .await;
        feeds_live(&edge).await;
    }
    flows(&stack.clickhouse, 300).await;
    sim.pause();
    compare(&sim, &stack.clickhouse).await;
    drop(edge);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trade_is_stored_exactly_once_through_an_outage_of_the_storage() {
    let (mut stack, sim, edge) = flowing().await;
    stack.clickhouse.kill();
    let acked = edge.metric("marketprism_edge_acknowledged_total", "").await;
    edge.reaches("marketprism_edge_acknowledged_total", "", acked + 1000).await;
    stack.clickhouse.restart().await;
    flows(&stack.clickhouse, 300).await;
    sim.pause();
    compare(&sim, &stack.clickhouse).await;
    drop(edge);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_edges_give_one_row_per_event_and_one_edge_is_enough() {
    let stack = Stack::start().await;
    let sim = Sim::start(SimConfig { backlog: false, ..config() }).await.unwrap();
    let nats = stack.broker.nats();
    let mut edges = Vec::new();
    for name in ["edge-one", "edge-two"] {
        edges.push(Edge::start_as(name, stack.folder.path(), &nats, &feeds(&sim)).await);
    }
    for edge in &edges {
        feeds_live(edge).await;
    }
    sim.resume();
    flows(&stack.clickhouse, 500).await;
    edges[0].kill();
    flows(&stack.clickhouse, 500).await;
    edges[0].restart().await;
    feeds_live(&edges[0]).await;
    for edge in &edges {
        eventually("each edge publishes enough events", || async {
            never_doubled(&stack.clickhouse).await;
            let acknowledged = edge.metric("marketprism_edge_acknowledged_total", "").await;
            if acknowledged > 300 { Ok(()) } else { Err(format!("{acknowledged} events")) }
        })
        .await;
    }
    sim.pause();
    compare(&sim, &stack.clickhouse).await;
    drop(edges);
    sim.stop().await;
}
