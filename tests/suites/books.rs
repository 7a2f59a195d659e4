//! Promise: every published order book equals the venue's book at that update, and a gap is detected, recorded and resynchronized.

mod deltas;
mod quotes;

use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::number::{key, plain};
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::{becomes, eventually};
use marketprism_venue_sim::{FaultAction, FaultSpec, Sim, SimConfig};
use serde_json::Value;

use crate::{SYMBOLS, two_symbols};

/// Exchanges with the levels a side that the edge publishes.
const EXCHANGES: [(&str, usize); 4] =
    [("binance_spot", 400), ("binance_derivatives", 400), ("bybit_spot", 200), ("bybit_derivatives", 50)];

fn depth_of(exchange: &str) -> usize {
    EXCHANGES.iter().find(|(name, _)| *name == exchange).unwrap().1
}

async fn books(stack: &Stack, which: &str) -> Vec<Value> {
    let query = format!(
        "SELECT exchange, venue_symbol, toString(last_update_id) AS id, epoch, \
         arrayMap(l -> [toString(l.1), toString(l.2)], bids) AS b, arrayMap(l -> [toString(l.1), toString(l.2)], asks) AS a \
         FROM marketprism_hot.orderbooks {which} ORDER BY exchange, venue_symbol, last_update_id"
    );
    stack.clickhouse.rows(&query).await.unwrap()
}

fn best(side: &[[String; 2]], depth: usize) -> Vec<[String; 2]> {
    side.iter().take(depth).map(|[price, quantity]| [plain(key(price)), plain(key(quantity))]).collect()
}

fn levels(row: &Value, side: &str) -> Vec<[String; 2]> {
    let levels = row[side].as_array().unwrap().iter();
    levels.map(|level| [0, 1].map(|i| level[i].as_str().unwrap().to_owned())).collect()
}

fn compare(sim: &Sim, rows: &[Value]) {
    for row in rows {
        let (exchange, symbol) = (row["exchange"].as_str().unwrap(), row["venue_symbol"].as_str().unwrap());
        let id: u64 = row["id"].as_str().unwrap().parse().unwrap();
        let own = sim.book_at(exchange, symbol, id).unwrap();
        let own = own.unwrap_or_else(|| panic!("{exchange} {symbol}: the venue never had an update {id}"));
        let depth = depth_of(exchange);
        assert_eq!(levels(row, "b"), best(&own.bids, depth), "{exchange} {symbol} {id}: bids");
        assert_eq!(levels(row, "a"), best(&own.asks, depth), "{exchange} {symbol} {id}: asks");
    }
}

async fn count(stack: &Stack) -> u64 {
    stack.clickhouse.number("SELECT count() FROM marketprism_hot.orderbooks").await.unwrap()
}

async fn more_books(stack: &Stack, more: u64) {
    let before = count(stack).await;
    becomes("books arrive", || count(stack), |now| *now >= before + more).await;
}

async fn start() -> (Stack, Sim, Edge) {
    let stack = Stack::start().await;
    let config = SimConfig { trade_percent: 10, start_paused: false, ..two_symbols(300) };
    let sim = Sim::start(config).await.unwrap();
    let address = sim.addr().to_string();
    let feed = |(exchange, depth): (&str, usize)| Feed {
        extra: format!("depth = {depth}\nstate_interval_ms = 100"),
        data_types: ["trade", "orderbook", "orderbook_delta", "quote"].map(str::to_owned).to_vec(),
        ..Feed::simulated(exchange, &address, &SYMBOLS)
    };
    let feeds: Vec<Feed> = EXCHANGES.map(feed).to_vec();
    let edge = stack.edge(&feeds).await;
    (stack, sim, edge)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_published_book_equals_the_venues_book() {
    let (stack, sim, _edge) = start().await;
    more_books(&stack, 100).await;
    // Enough changes that levels come and go at the end of a limited depth.
    EXCHANGES.iter().for_each(|(exchange, _)| sim.burst(exchange, 2000));
    more_books(&stack, 100).await;
    let rows = books(&stack, "").await;
    let kinds: std::collections::BTreeSet<String> =
        rows.iter().map(|row| format!("{}{}", row["exchange"], row["venue_symbol"])).collect();
    assert_eq!(kinds.len(), 2 * EXCHANGES.len(), "{kinds:?}");
    for (exchange, depth) in EXCHANGES {
        let full = rows.iter().any(|row| row["exchange"] == exchange && levels(row, "b").len() == depth);
        assert!(full, "no book of {exchange} has {depth} levels");
    }
    compare(&sim, &rows);
    deltas::equal_the_venues_books(&stack, &sim).await;
}

/// A restarted service of a venue restarts its numbering with a full book: no gap.
async fn restarted_books_go_on(stack: &Stack, sim: &Sim, edge: &Edge) {
    let exchange = "bybit_derivatives";
    let gaps = edge.metric("marketprism_edge_orderbook_gaps_total", exchange).await;
    let restart = FaultSpec::new(FaultAction::RestartSequence).exchange(exchange).symbol("ETHUSDT");
    sim.fault(restart).unwrap();
    eventually("a book of the restarted numbers is stored", || async {
        let query = format!(
            "SELECT count() FROM marketprism_hot.orderbooks WHERE exchange = '{exchange}' \
             AND venue_symbol = 'ETHUSDT' AND last_update_id < 1000000"
        );
        match stack.clickhouse.number(&query).await? {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    assert_eq!(edge.metric("marketprism_edge_orderbook_gaps_total", exchange).await, gaps);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_gap_is_recorded_and_resynchronized_without_a_wrong_book() {
    let (stack, sim, edge) = start().await;
    more_books(&stack, 50).await;
    for (exchange, _) in EXCHANGES {
        let gap = FaultSpec::new(FaultAction::Gap).exchange(exchange).symbol("BTCUSDT");
        let id = sim.fault(gap).unwrap();
        eventually("the edge records the gap", || async {
            let (fired, seen) =
                (sim.fired(id), edge.metric("marketprism_edge_orderbook_gaps_total", exchange).await);
            if fired > 0 && seen > 0 { Ok(()) } else { Err(format!("fired {fired}, seen {seen}")) }
        })
        .await;
    }
    eventually("books of a new epoch are stored", || async {
        let query = "SELECT uniqExact(exchange) FROM marketprism_hot.orderbooks WHERE venue_symbol = 'BTCUSDT' AND epoch > \
                     (SELECT min(epoch) FROM marketprism_hot.orderbooks)";
        let healed = stack.clickhouse.number(query).await?;
        let all = EXCHANGES.len() as u64;
        if healed == all { Ok(()) } else { Err(format!("{healed} of {all} books")) }
    })
    .await;
    restarted_books_go_on(&stack, &sim, &edge).await;
    more_books(&stack, 50).await;
    compare(&sim, &books(&stack, "").await);
    assert!(
        deltas::equal_the_venues_books(&stack, &sim).await >= EXCHANGES.len() * 3,
        "epochs of broken books"
    );
    let coverage = edge.get("/coverage").await.unwrap();
    assert!(coverage.contains("gap"), "the gap is not in /coverage: {coverage}");
}
