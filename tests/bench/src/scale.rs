//! One edge with a thousand instruments at the rates of a busy venue: CPU time, memory and its growth, gaps.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::pairs::Spread;
use marketprism_venue_sim::{Sim, SimConfig, Simulation};
use serde_json::Value;

use crate::edge::broker_with_streams;

const EXCHANGE: &str = "binance_derivatives";
const INSTRUMENTS: usize = 1_000;
/// Frames a second, trades and book updates of up to a dozen levels: twice what all perpetuals of the largest venue send in a calm hour.
const RATE: u64 = 3_000;
const TRADE_PERCENT: u32 = 40;
/// Limit for all books to be live: their snapshots take the REST weight of some minutes.
const LIVE: Duration = Duration::from_secs(400);
/// Growth that caches and the allocator may take between the first and the second half.
const GROWTH_MB: f64 = 12.0;

pub async fn measure(report: &mut Report, minutes: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = broker_with_streams(folder.path()).await;
    let sim = Sim::start(SimConfig {
        exchanges: vec![EXCHANGE.to_owned()],
        symbols: (0..INSTRUMENTS).map(|number| format!("{EXCHANGE}:A{number:03}USDT")).collect(),
        rate: RATE,
        trade_percent: TRADE_PERCENT,
        event_ms: Some(3_000),
        ..SimConfig::default()
    });
    let sim = sim.await.map_err(|error| anyhow!("the simulator: {error:?}"))?;
    let nats = broker.nats();
    let one = {
        let mut edge = Edge::start_as("edge-one", folder.path(), &nats, &[feed(&sim, 1)?]).await;
        live(&edge, 1).await?;
        edge.process().resident_bytes()
    };
    let mut edge = Edge::start(folder.path(), &nats, &[feed(&sim, INSTRUMENTS)?]).await;
    let began = Instant::now();
    live(&edge, INSTRUMENTS).await?;
    let name = format!("edge with {INSTRUMENTS} instruments, {RATE} frames/s");
    report.figure(format!("{name}: all books live after"), began.elapsed().as_secs_f64(), "s");
    let time = Duration::from_secs(60 * minutes);
    let before = (edge.process().cpu_time(), faults(&edge).await?, published(&edge).await);
    let (started, mut halves) = (Instant::now(), [Vec::new(), Vec::new()]);
    while started.elapsed() < time {
        let [first, second] = &mut halves;
        let half = if started.elapsed() < time / 2 { first } else { second };
        half.push(edge.process().resident_bytes() as f64 / 1e6);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (took, cpu) = (started.elapsed().as_secs_f64(), edge.process().cpu_time().saturating_sub(before.0));
    ensure!(live_books(&page(&edge).await?)? == INSTRUMENTS, "a book is not live any more");
    let name = format!("{name}, {minutes} minutes");
    let rate = (published(&edge).await - before.2) as f64 / took;
    report.figure(format!("{name}: published"), rate, "events/s");
    report.goal(format!("{name}: CPU time"), cpu.as_secs_f64() / took, "cores", Goal::AtMost(1.0));
    let most = halves.iter().flatten().copied().fold(0.0, f64::max);
    report.goal(format!("{name}: most resident memory"), most, "MB", Goal::AtMost(256.0));
    let [first, second] = halves.map(|half| Spread::of(half.into_iter()).map_or(0.0, |half| half.median));
    let growth = Goal::AtMost(GROWTH_MB);
    report.goal(format!("{name}: second half against the first"), second - first, "MB", growth);
    let each = (second * 1e6 - one as f64) / (INSTRUMENTS as f64 - 1.0) / 1e3;
    report.figure(format!("{name}: memory an instrument"), each, "kB");
    let faults = faults(&edge).await? - before.1;
    report.goal(
        format!("{name}: reconnects, gaps, lost and dropped events"),
        faults as f64,
        "",
        Goal::AtMost(0.0),
    );
    drop(edge);
    sim.stop().await;
    Ok(())
}

/// Books, trades and what else the venue has of some instruments.
fn feed(sim: &Simulation, count: usize) -> Result<Feed> {
    let listed = sim.instruments(EXCHANGE).map_err(|error| anyhow!("{EXCHANGE}: {error:?}"))?;
    let symbols: BTreeSet<String> = listed.into_iter().map(|instrument| instrument.symbol).collect();
    let types = ["trade", "orderbook", "funding_rate", "liquidation"];
    Ok(Feed {
        symbols: symbols.into_iter().take(count).collect(),
        data_types: types.map(str::to_owned).to_vec(),
        // Snapshots of 100 levels: all books are live within minutes.
        extra: "market_types = [\"perpetual\"]\ndepth = 100".to_owned(),
        ..Feed::simulated(EXCHANGE, &sim.addr().to_string(), &[])
    })
}

async fn page(edge: &Edge) -> Result<Value> {
    Ok(serde_json::from_str(&edge.get("/coverage").await.map_err(anyhow::Error::msg)?)?)
}

fn live_books(page: &Value) -> Result<usize> {
    let instruments = page.pointer("/feeds/0/instruments").and_then(Value::as_array);
    let states = instruments.context("/coverage has no instruments")?.iter();
    let is_live = |one: &&Value| one.pointer("/orderbook/state").and_then(Value::as_str) == Some("LIVE");
    Ok(states.filter(is_live).count())
}

async fn live(edge: &Edge, books: usize) -> Result<()> {
    let started = Instant::now();
    loop {
        let live = page(edge).await.and_then(|page| live_books(&page)).unwrap_or_default();
        if live == books {
            return Ok(());
        }
        ensure!(started.elapsed() < LIVE, "{live} of {books} books are live within {LIVE:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn published(edge: &Edge) -> u64 {
    edge.metric("marketprism_edge_published_total", "").await
}

/// Constant while the venue has no faults.
async fn faults(edge: &Edge) -> Result<u64> {
    let page = page(edge).await?;
    let connections = page.pointer("/feeds/0/connections").and_then(Value::as_array);
    let reconnects = connections.context("/coverage has no connections")?.iter();
    let reconnects = reconnects.filter_map(|one| one.get("reconnects")?.as_object());
    let reconnects: u64 = reconnects.flat_map(|causes| causes.values()).filter_map(Value::as_u64).sum();
    let dropped = page.pointer("/queue/dropped").and_then(Value::as_u64);
    let gaps = edge.metric("marketprism_edge_orderbook_gaps_total", "").await
        + edge.metric("marketprism_edge_trade_gaps_total", "").await;
    let lost = edge.metric("marketprism_edge_lost_events_total", "").await;
    Ok(reconnects + gaps + lost + dropped.context("/coverage has no queue")?)
}
