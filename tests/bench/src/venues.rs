//! Resident memory of one edge with five venues.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::figures::{Goal, Report};
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::Value;

use crate::edge::broker_with_streams;

const EXCHANGES: [&str; 5] = ["binance_spot", "okx_spot", "deribit_derivatives", "bybit_spot", "kraken_spot"];
/// Frames per second of all of them: a busy hour.
const RATE: u64 = 500;
/// Time with live books.
const TIME: Duration = Duration::from_secs(30);
/// Limit for all books to be live.
const LIVE: Duration = Duration::from_secs(60);

/// Trades and books of everything that the venues list by default.
pub async fn measure(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = broker_with_streams(folder.path()).await;
    let exchanges = EXCHANGES.map(str::to_owned).to_vec();
    let sim = Sim::start(SimConfig { exchanges, rate: RATE, ..SimConfig::default() }).await;
    let sim = sim.map_err(|error| anyhow!("the simulator: {error:?}"))?;
    let address = sim.addr().to_string();
    let mut feeds = Vec::new();
    for exchange in EXCHANGES {
        let listed = sim.instruments(exchange).map_err(|error| anyhow!("{exchange}: {error:?}"))?;
        let symbols: BTreeSet<String> = listed.into_iter().map(|instrument| instrument.symbol).collect();
        let extra = "market_types = []".to_owned();
        let symbols = symbols.into_iter().collect();
        feeds.push(Feed { symbols, extra, ..Feed::simulated(exchange, &address, &[]) });
    }
    let nats = broker.nats();
    let mut edge = Edge::start(folder.path(), &nats, &feeds).await;
    let books = all_live(&edge).await?;
    let (started, mut most) = (Instant::now(), 0);
    while started.elapsed() < TIME {
        most = edge.process().resident_bytes().max(most);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let name =
        format!("edge with five venues, {books} books, {RATE} frames/s, {TIME:?}: most resident memory");
    report.goal(name, most as f64 / 1e6, "MB", Goal::AtMost(100.0));
    drop(edge);
    sim.stop().await;
    Ok(())
}

/// Waits until every book is live; returns their number.
async fn all_live(edge: &Edge) -> Result<usize> {
    let started = Instant::now();
    loop {
        let page = edge.get("/coverage").await.map_err(anyhow::Error::msg)?;
        let page: Value = serde_json::from_str(&page)?;
        let feeds = page.pointer("/feeds").and_then(Value::as_array).context("/coverage has no feeds")?;
        let instruments = feeds.iter().filter_map(|feed| feed.pointer("/instruments")?.as_array()).flatten();
        let states: Vec<Option<&str>> =
            instruments.map(|one| one.pointer("/orderbook/state").and_then(Value::as_str)).collect();
        if feeds.len() == EXCHANGES.len()
            && !states.is_empty()
            && states.iter().all(|state| *state == Some("LIVE"))
        {
            return Ok(states.len());
        }
        ensure!(started.elapsed() < LIVE, "books are not live within {LIVE:?}: {states:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
