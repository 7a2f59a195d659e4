//! Promise: every published order book equals the venue's book at that update, and a gap is detected, recorded and resynchronized.

use std::time::Duration;

use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::number::{key, plain};
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::until;
use marketprism_venue_sim::{FaultAction, FaultSpec, Sim, SimConfig};
use serde_json::Value;

use crate::{SYMBOLS, two_symbols};

const DEPTH: usize = 400;
const EXCHANGES: [&str; 2] = ["binance_spot", "binance_derivatives"];

async fn books(stack: &Stack, which: &str) -> Vec<Value> {
    let query = format!(
        "SELECT exchange, venue_symbol, toString(last_update_id) AS id, epoch, \
         arrayMap(l -> [toString(l.1), toString(l.2)], bids) AS b, arrayMap(l -> [toString(l.1), toString(l.2)], asks) AS a \
         FROM marketprism_hot.orderbooks {which} ORDER BY exchange, venue_symbol, last_update_id"
    );
    stack.clickhouse.rows(&query).await.unwrap()
}

fn best(side: &[[String; 2]]) -> Vec<[String; 2]> {
    side.iter().take(DEPTH).map(|[price, quantity]| [plain(key(price)), plain(key(quantity))]).collect()
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
        assert_eq!(levels(row, "b"), best(&own.bids), "{exchange} {symbol} {id}: bids");
        assert_eq!(levels(row, "a"), best(&own.asks), "{exchange} {symbol} {id}: asks");
    }
}

async fn count(stack: &Stack) -> u64 {
    stack.clickhouse.number("SELECT count() FROM marketprism_hot.orderbooks").await.unwrap()
}

async fn more_books(stack: &Stack, more: u64) {
    let before = count(stack).await;
    until("books arrive", Duration::from_secs(60), || async {
        let now = count(stack).await;
        if now >= before + more { Ok(()) } else { Err(format!("{before}, then {now}")) }
    })
    .await;
}

async fn start() -> (Stack, Sim, Edge) {
    let stack = Stack::start().await;
    let config = SimConfig { trade_percent: 10, start_paused: false, ..two_symbols(300) };
    let sim = Sim::start(config).await.unwrap();
    let address = sim.addr().to_string();
    let feeds: Vec<Feed> =
        EXCHANGES.iter().map(|exchange| Feed::simulated(exchange, &address, &SYMBOLS)).collect();
    let edge = stack.edge(&feeds).await;
    (stack, sim, edge)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_published_book_equals_the_venues_book() {
    let (stack, sim, _edge) = start().await;
    more_books(&stack, 200).await;
    let rows = books(&stack, "").await;
    let kinds: std::collections::BTreeSet<String> =
        rows.iter().map(|row| format!("{}{}", row["exchange"], row["venue_symbol"])).collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    assert!(rows.iter().any(|row| levels(row, "b").len() == DEPTH), "no book has the full depth");
    compare(&sim, &rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_gap_is_recorded_and_resynchronized_without_a_wrong_book() {
    let (stack, sim, edge) = start().await;
    more_books(&stack, 50).await;
    for exchange in EXCHANGES {
        let gap = FaultSpec::new(FaultAction::Gap).exchange(exchange).symbol("BTCUSDT");
        let id = sim.fault(gap).unwrap();
        until("the edge records the gap", Duration::from_secs(30), || async {
            let (fired, seen) =
                (sim.fired(id), edge.metric("marketprism_edge_orderbook_gaps_total", exchange).await);
            if fired > 0 && seen > 0 { Ok(()) } else { Err(format!("fired {fired}, seen {seen}")) }
        })
        .await;
    }
    until("books of a new epoch are stored", Duration::from_secs(60), || async {
        let query = "SELECT uniqExact(exchange) FROM marketprism_hot.orderbooks WHERE venue_symbol = 'BTCUSDT' AND epoch > \
                     (SELECT min(epoch) FROM marketprism_hot.orderbooks)";
        let healed = stack.clickhouse.number(query).await?;
        if healed == 2 { Ok(()) } else { Err(format!("{healed} of 2 books")) }
    })
    .await;
    more_books(&stack, 50).await;
    compare(&sim, &books(&stack, "").await);
    let coverage = edge.get("/coverage").await.unwrap();
    assert!(coverage.contains("gap"), "the gap is not in /coverage: {coverage}");
}
