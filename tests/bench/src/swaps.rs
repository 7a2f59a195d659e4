//! Changes of an adapter's version while a simulated venue sends as fast as asked, or as this machine carries: pauses of the pipeline, every
//! numbered trade in hot once, books as the venue has them, memory.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use marketprism_adapter_host::with_custom_section;
use marketprism_tests::clickhouse::client;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::number::{key, plain};
use marketprism_tests::parts;
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::until;
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::Value;
use tokio::time::sleep;

/// Levels of a side that an edge publishes by default. The simulator may remove all levels of a book.
const DEPTH: usize = 400;
const EXCHANGE: &str = "binance_spot";
const SYMBOLS: [(&str, &str); 4] =
    [("BTC-USDT", "BTCUSDT"), ("ETH-USDT", "ETHUSDT"), ("SOL-USDT", "SOLUSDT"), ("XRP-USDT", "XRPUSDT")];
const TOKEN: (&str, &str) = ("MARKETPRISM_HTTP__TOKEN", "a token for benchmarks");

/// Versions of equal output that follow each other: compiled once each.
const VERSIONS: u64 = 4;

/// Limit of one change, and of the last rows.
const LIMIT: Duration = Duration::from_secs(120);

/// First rate, and the time for which each is tried before the next one.
const FIRST_RATE: u64 = 2_000;
const STEP: Duration = Duration::from_secs(3);

/// Growth of resident memory that caches and the allocator may take.
const GROWTH_MB: f64 = 12.0;

pub async fn measure(report: &mut Report, swaps: u64, asked: u64) -> Result<()> {
    let stack = Stack::plain().await;
    let config = SimConfig {
        exchanges: vec![EXCHANGE.to_owned()],
        symbols: SYMBOLS.iter().map(|(_, venue)| (*venue).to_owned()).collect(),
        rate: FIRST_RATE.min(asked),
        start_paused: true,
        // A busy machine delays the edge's reads; a connection that is cut would lose trades by itself.
        queue_capacity: 1 << 20,
        ..SimConfig::default()
    };
    let sim = Sim::start(config).await?;
    let mut edge = start_edge(&stack, &sim).await;
    sim.resume();
    let rate = carried_rate(&sim, &edge, asked).await?;
    let gaps = edge.metric("marketprism_edge_orderbook_gaps_total", "").await;
    let frames = edge.metric("marketprism_edge_frames_total", "").await;
    let (mut pauses, mut memory, began) = (Vec::new(), Vec::new(), Instant::now());
    for number in 0..swaps {
        pauses.extend(change(&edge, number).await?);
        memory.push(edge.process().resident_bytes() as f64 / 1e6);
    }
    let taken = edge.metric("marketprism_edge_frames_total", "").await - frames;
    let per_second = taken as f64 / began.elapsed().as_secs_f64();
    sim.pause();
    report.figure(
        format!(
            "swaps: {swaps} changes, frames taken meanwhile (asked {asked}/s, this machine carries {rate}/s)"
        ),
        per_second,
        "frames/s",
    );
    report_pauses(report, pauses, swaps);
    report_memory(report, &memory);
    report_rows(report, &stack, &sim).await?;
    let resynced = edge.metric("marketprism_edge_orderbook_gaps_total", "").await - gaps;
    report.goal("swaps: gaps of order books meanwhile", resynced as f64, "gaps", Goal::AtMost(0.0));
    Ok(())
}

async fn start_edge(stack: &Stack, sim: &Sim) -> Edge {
    let symbols = SYMBOLS.map(|(symbol, _)| symbol);
    let feed = Feed::simulated(EXCHANGE, &sim.addr().to_string(), &symbols);
    let tables = "[adapters]\nallow_unsigned = true\nshadow_frames = 500\nshadow_ms = 0\nprobation_ms = 100";
    let nats = format!("urls = [{:?}]\n{tables}", stack.broker.url());
    let mut edge = Edge::prepared(stack.folder.path(), &nats, &[feed]).with_variable(TOKEN.0, TOKEN.1);
    edge.restart().await;
    until("the edge is ready", LIMIT, || edge.get("/ready")).await;
    edge
}

/// Raises the rate up to the one that was asked for, while the edge takes nine tenths of it and no more than a second of events waits in it.
async fn carried_rate(sim: &Sim, edge: &Edge, asked: u64) -> Result<u64> {
    let mut rate = FIRST_RATE.min(asked);
    loop {
        sim.set_rate(rate);
        let (before, began) = (edge.metric("marketprism_edge_frames_total", "").await, Instant::now());
        sleep(STEP).await;
        let taken = edge.metric("marketprism_edge_frames_total", "").await - before;
        let per_second = taken as f64 / began.elapsed().as_secs_f64();
        let page: Value = serde_json::from_str(&edge.get("/coverage").await.map_err(anyhow::Error::msg)?)?;
        let waiting =
            page.pointer("/queue/messages").and_then(Value::as_u64).context("no queue in /coverage")?;
        if waiting > rate || per_second < rate as f64 * 0.9 {
            let carried = rate * 7 / 10;
            sim.set_rate(carried);
            return Ok(carried);
        }
        if rate == asked {
            return Ok(rate);
        }
        rate = (rate * 5 / 4).min(asked);
    }
}

/// Loads the next version and waits for the end of the change. Gives its pauses.
async fn change(edge: &Edge, number: u64) -> Result<Vec<f64>> {
    let version = u8::try_from(number % VERSIONS)?;
    let component = with_custom_section(&std::fs::read(parts::adapter("binance"))?, "version", &[version]);
    let url = format!("http://127.0.0.1:{}/adapters/load", edge.port());
    let answer = client().post(url).bearer_auth(TOKEN.1).body(component).send().await?;
    let started: Value = serde_json::from_str(&answer.error_for_status()?.text().await?)?;
    let number = started.get("swap").and_then(Value::as_u64).context("no number of the change")?;
    let began = Instant::now();
    loop {
        sleep(Duration::from_millis(20)).await;
        let page: Value = serde_json::from_str(&edge.get("/adapters").await.map_err(anyhow::Error::msg)?)?;
        let all = page.get("swaps").and_then(Value::as_array).context("no swaps in /adapters")?;
        let record = all.iter().find(|record| record.get("number").and_then(Value::as_u64) == Some(number));
        let record = record.with_context(|| format!("change {number} is forgotten"))?;
        match record.get("outcome").and_then(Value::as_str) {
            Some("promoted") => {
                let pauses = record.get("pauses_us").and_then(Value::as_array).context("no pauses")?;
                return Ok(pauses.iter().filter_map(Value::as_f64).map(|micros| micros / 1_000.0).collect());
            }
            Some("running") => ensure!(began.elapsed() < LIMIT, "no end within {LIMIT:?}: {record}"),
            _ => anyhow::bail!("a version of equal output was not promoted: {record}"),
        }
    }
}

fn report_pauses(report: &mut Report, mut pauses: Vec<f64>, swaps: u64) {
    pauses.sort_by(f64::total_cmp);
    let median = pauses.get(pauses.len() / 2).copied().unwrap_or(f64::INFINITY);
    let worst = pauses.last().copied().unwrap_or(f64::INFINITY);
    report.goal(format!("swaps: pause of the pipeline, p50 of {swaps}"), median, "ms", Goal::AtMost(1.0));
    report.goal("swaps: pause of the pipeline, worst", worst, "ms", Goal::AtMost(10.0));
}

/// The median of the last quarter against that of the second: the first one fills caches.
fn report_memory(report: &mut Report, samples: &[f64]) {
    let quarter = samples.len() / 4;
    let median = |from: usize, to: usize| {
        let mut part = samples.get(from..to).unwrap_or_default().to_vec();
        part.sort_by(f64::total_cmp);
        part.get(part.len() / 2).copied().unwrap_or_default()
    };
    let (before, after) = (median(quarter, 2 * quarter), median(samples.len() - quarter, samples.len()));
    report.figure("swaps: resident memory after the last quarter of the changes", after, "MB");
    report.goal("swaps: its growth since the second quarter", after - before, "MB", Goal::AtMost(GROWTH_MB));
}

/// Waits for the last trade in hot; counts trades that are missing or doubled, and books that differ from the venue's.
async fn report_rows(report: &mut Report, stack: &Stack, sim: &Sim) -> Result<()> {
    let (mut sent, mut lost, mut doubled, mut differing) = (0, 0, 0, 0);
    for (_, symbol) in SYMBOLS {
        let trades = sim.all_trades(EXCHANGE, symbol).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let last: u64 = trades.last().with_context(|| format!("no trade of {symbol}"))?.trade_id.parse()?;
        let of_symbol = format!(
            "FROM marketprism_hot.trades WHERE exchange = '{EXCHANGE}' AND venue_symbol = '{symbol}'"
        );
        let number = async |what: &str| stack.clickhouse.number(&format!("SELECT {what} {of_symbol}")).await;
        // Nothing was sent before the edge had subscribed.
        let first = number("min(toUInt64(trade_id))").await.map_err(anyhow::Error::msg)?;
        let expected = last + 1 - first;
        let began = Instant::now();
        let mut distinct = number("uniqExact(trade_id)").await.map_err(anyhow::Error::msg)?;
        while distinct < expected && began.elapsed() < LIMIT {
            sleep(Duration::from_millis(200)).await;
            distinct = number("uniqExact(trade_id)").await.map_err(anyhow::Error::msg)?;
        }
        let rows = number("count()").await.map_err(anyhow::Error::msg)?;
        sent += expected;
        lost += expected.saturating_sub(distinct);
        doubled += rows - distinct;
        differing += u64::from(!is_venue_book(stack, sim, symbol).await?);
    }
    report.figure("swaps: numbered trades sent", sent as f64, "trades");
    report.goal("swaps: trades not in hot", lost as f64, "trades", Goal::AtMost(0.0));
    report.goal("swaps: trades in hot twice", doubled as f64, "rows", Goal::AtMost(0.0));
    report.goal(
        "swaps: newest books that differ from the venue's",
        differing as f64,
        "books",
        Goal::AtMost(0.0),
    );
    Ok(())
}

/// Compares the newest stored book with the venue's at that update.
async fn is_venue_book(stack: &Stack, sim: &Sim, symbol: &str) -> Result<bool> {
    let side = |name: &str| format!("arrayMap(l -> [toString(l.1), toString(l.2)], {name}) AS {name}_text");
    let query = format!(
        "SELECT toString(last_update_id) AS id, {}, {} FROM marketprism_hot.orderbooks WHERE exchange = '{EXCHANGE}' \
         AND venue_symbol = '{symbol}' ORDER BY last_update_id DESC LIMIT 1",
        side("bids"),
        side("asks")
    );
    let rows = stack.clickhouse.rows(&query).await.map_err(anyhow::Error::msg)?;
    let row = rows.first().with_context(|| format!("no book of {symbol}"))?;
    let id: u64 = row.get("id").and_then(Value::as_str).context("no id")?.parse()?;
    let own = sim.book_at(EXCHANGE, symbol, id).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let own = own.with_context(|| format!("the venue never had an update {id} of {symbol}"))?;
    let stored = |name: &str| -> Vec<[String; 2]> {
        let levels = row.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let text = |level: &Value, at: usize| {
            level.get(at).and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
        };
        levels.iter().map(|level| [text(level, 0), text(level, 1)]).collect()
    };
    let same = |stored: Vec<[String; 2]>, own: &[[String; 2]]| {
        let own = own.iter().take(DEPTH);
        stored.into_iter().eq(own.map(|[price, quantity]| [plain(key(price)), plain(key(quantity))]))
    };
    Ok(same(stored("bids_text"), &own.bids) && same(stored("asks_text"), &own.asks))
}
