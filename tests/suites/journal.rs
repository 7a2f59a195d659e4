//! Promise: what an edge has journaled is in hot exactly once, though edge and broker are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use marketprism_schema::{Body, WireForm};
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::journal_file::events_in;
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::{becomes, eventually};
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::Value;

use crate::{SYMBOLS, VENUE_SYMBOLS, two_symbols};

const EXCHANGE: &str = "binance_spot";

/// Venue symbol and id.
type TradeKey = (String, String);

fn key(row: &Value) -> TradeKey {
    let text = |name: &str| row[name].as_str().unwrap_or_else(|| panic!("{name}: {row}")).to_owned();
    (text("venue_symbol"), text("trade_id"))
}

/// Trades in the segments of a journal.
fn journaled(folder: &Path) -> BTreeSet<TradeKey> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for frame in events_in(&bytes) {
            let form = if frame.is_packed { WireForm::Protobuf } else { WireForm::Json };
            let event = form.decode(frame.payload).unwrap();
            if let Body::Trade(trade) = &event.body {
                found.insert((event.header.venue_symbol.to_string(), trade.trade_id.to_string()));
            }
        }
    }
    found
}

fn sent(sim: &Sim) -> BTreeSet<TradeKey> {
    let of = |symbol: &str| {
        let trades = sim.all_trades(EXCHANGE, symbol).unwrap().into_iter();
        trades.map(|trade| (symbol.to_owned(), trade.id.to_string())).collect::<Vec<_>>()
    };
    VENUE_SYMBOLS.iter().flat_map(|symbol| of(symbol)).collect()
}

async fn counted(stack: &Stack) -> Result<BTreeMap<TradeKey, u32>, String> {
    let mut rows = BTreeMap::new();
    for row in stack.clickhouse.rows("SELECT venue_symbol, trade_id FROM marketprism_hot.trades").await? {
        *rows.entry(key(&row)).or_default() += 1;
    }
    Ok(rows)
}

async fn collected(edge: &Edge, more: u64) {
    let events = || edge.metric("marketprism_edge_events_total", "data_type=\"trade\"");
    let before = events().await;
    becomes("events are collected", events, |now| *now >= before + more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_edge_had_journaled_while_the_broker_was_away_is_stored_exactly_once() {
    let mut stack = Stack::start().await;
    let sim = Sim::start(SimConfig { backlog: false, ..two_symbols(2_000) }).await.unwrap();
    let feed = Feed::simulated(EXCHANGE, &sim.addr().to_string(), &SYMBOLS);
    let nats = stack.broker.nats();
    // A small memory: most events are on disk only.
    let tables = "[publisher]\nqueue_max_messages = 1000\nmax_in_flight_messages = 256";
    let mut edge = Edge::with_tables(stack.folder.path(), &nats, tables, &[feed]).await;
    eventually("the feed is ready", || edge.get("/ready")).await;
    sim.resume();
    collected(&edge, 300).await;
    stack.broker.kill();
    collected(&edge, 2_000).await;
    edge.kill();
    let folder = edge.folder().join("data/journal/edge-test");
    let first = journaled(&folder);

    // It starts and collects without a broker, and is killed again.
    edge.restart().await;
    collected(&edge, 500).await;
    edge.kill();
    let journaled: BTreeSet<TradeKey> = journaled(&folder).union(&first).cloned().collect();
    let sent_by_venue = sent(&sim);
    assert!(journaled.len() > first.len() && first.len() > 2_000, "{} of {}", first.len(), journaled.len());
    assert!(journaled.is_subset(&sent_by_venue));

    stack.broker.restart().await;
    edge.restart().await;
    let rows = eventually("all journaled trades are stored", || async {
        let rows = counted(&stack).await?;
        assert!(rows.values().all(|count| *count == 1), "a trade is stored twice");
        let missing = journaled.iter().filter(|trade| !rows.contains_key(*trade)).count();
        if missing == 0 { Ok(rows) } else { Err(format!("{missing} of {} missing", journaled.len())) }
    })
    .await;
    sim.pause();
    let sent_by_venue = sent(&sim);
    assert!(rows.keys().all(|trade| sent_by_venue.contains(trade)));
    eventually("nothing waits in the journal", || async {
        let waiting = edge.metric("marketprism_edge_journal_waiting_events", "").await;
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} wait")) }
    })
    .await;
    sim.stop().await;
}
