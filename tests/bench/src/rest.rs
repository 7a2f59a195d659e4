//! The default stack at rest: the work of the engine, and of the parts around it, for the events of five simulated exchanges.
//!
//! Rows, queries and CPU time are counted, not timed, so they mean something on a busy machine too.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::parts;
use marketprism_tests::process::Process;
use marketprism_tests::stack::Stack;

/// Frames a second of the simulator; with the timed events of all feeds about 70 events a second.
const FRAMES_A_SECOND: &str = "105";
const EVENT_MS: &str = "2000";
const MOST_MERGED: f64 = 10.0;
const MOST_CORES: f64 = 0.08;
const MOST_QUERIES: f64 = 2.0;
/// Limit for the first rows of every exchange.
const LIMIT: Duration = Duration::from_secs(120);
/// From then on: snapshots of books, lists of instruments and the first comparisons are over.
const SETTLED: Duration = Duration::from_secs(30);
const ON_ALL: [&str; 2] = ["trade", "orderbook"];
const ON_DERIVATIVES: [&str; 5] =
    ["funding_rate", "open_interest", "liquidation", "lsr_top_position", "lsr_all_account"];

/// Counters of the engine, summed since its start.
type Counters = BTreeMap<String, u64>;

struct System {
    // Dropped in this order.
    edge: Edge,
    stack: Stack,
    _venue: Process,
}

/// Counters and CPU time at one moment.
struct Moment {
    at: Instant,
    counters: Counters,
    rows: u64,
    processor: [Duration; 4],
}

pub async fn measure(report: &mut Report, minutes: u64) -> Result<()> {
    let mut system = System::start().await?;
    tokio::time::sleep(SETTLED).await;
    let before = system.moment().await?;
    tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
    let after = system.moment().await?;
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let counted = |name: &str| -> f64 {
        let of = |moment: &Moment| moment.counters.get(name).copied().unwrap_or_default();
        of(&after).saturating_sub(of(&before)) as f64
    };
    let events = after.rows.saturating_sub(before.rows) as f64;
    ensure!(events > 0.0, "no event was stored in {minutes} minutes");
    report.figure(format!("rest, {minutes} minutes, events stored in hot"), events / seconds, "events/s");
    report.figure(
        "rest, rows inserted, all tables of hot and cold",
        counted("InsertedRows") / seconds,
        "rows/s",
    );
    report.figure("rest, rows merged", counted("MergedRows") / seconds, "rows/s");
    report.figure("rest, bytes merged", counted("MergedUncompressedBytes") / seconds / 1e6, "MB/s");
    report.figure("rest, merges", counted("Merge") / seconds, "merges/s");
    let merged = counted("MergedRows") / counted("InsertedRows").max(1.0);
    report.goal("rest, rows merged for each row inserted", merged, "rows", Goal::AtMost(MOST_MERGED));
    report.figure("rest, rows read", counted("SelectedRows") / seconds, "rows/s");
    // Trades and order books alone are two inserts a second, by their freshness of one second.
    report.figure("rest, inserts", counted("InsertQuery") / seconds, "queries/s");
    let reading = counted("SelectQuery") / seconds;
    report.goal("rest, reading queries", reading, "queries/s", Goal::AtMost(MOST_QUERIES));
    let cores = |part: usize| -> f64 {
        let of = |moment: &Moment| moment.processor.get(part).copied().unwrap_or_default();
        of(&after).saturating_sub(of(&before)).as_secs_f64() / seconds
    };
    report.goal("rest, processor time of the engine", cores(0), "cores", Goal::AtMost(MOST_CORES));
    for (part, name) in ["central", "broker", "edge"].into_iter().enumerate() {
        report.figure(format!("rest, processor time of {name}"), cores(part + 1), "cores");
    }
    let resident = system.stack.clickhouse.process().resident_bytes() as f64 / 1e6;
    report.figure("rest, resident memory of the engine", resident, "MB");
    for (table, parts) in parts_of_tables(&system.stack.clickhouse).await? {
        report.figure(format!("rest, active parts of {table}"), parts as f64, "parts");
    }
    Ok(())
}

impl System {
    /// As `make up`, with the exchanges of its simulator.
    async fn start() -> Result<Self> {
        let stack = Stack::plain().await;
        let exchanges =
            ["binance_spot", "binance_derivatives", "okx_spot", "okx_derivatives", "deribit_derivatives"];
        let mut command = Command::new(parts::binary("marketprism-venue-sim"));
        command.args(exchanges.map(|exchange| format!("--exchange={exchange}")));
        command.args(["--rate", FRAMES_A_SECOND, "--event-ms", EVENT_MS]);
        let mut venue = Process::start("venue", &mut command, stack.folder.path());
        let address = venue.line_after("listening on ", LIMIT).await;
        let feeds = exchanges.map(|exchange| feed(exchange, &address));
        let edge = stack.edge(&feeds).await;
        let system = Self { edge, stack, _venue: venue };
        let started = Instant::now();
        let found = "SELECT uniqExact(exchange) FROM marketprism_hot.orderbooks";
        while system.number(found).await? < exchanges.len() as u64 {
            ensure!(
                started.elapsed() < LIMIT,
                "not all of {exchanges:?} have order books in hot within {LIMIT:?}"
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(system)
    }

    async fn number(&self, query: &str) -> Result<u64> {
        self.stack.clickhouse.number(query).await.map_err(|e| anyhow!(e))
    }

    async fn moment(&mut self) -> Result<Moment> {
        let rows = self
            .number(
                "SELECT sum(rows) FROM system.parts WHERE active AND database = 'marketprism_hot' AND table IN \
                 (SELECT table FROM system.columns WHERE database = 'marketprism_cold' AND name = 'event_id')",
            )
            .await?;
        let text = "SELECT event, value FROM system.events FORMAT TSV";
        let text = self.stack.clickhouse.text(text).await.map_err(|e| anyhow!(e))?;
        let counters = text.lines().map(|line| {
            let (name, value) = line.split_once('\t').context("no counter")?;
            Ok((name.to_owned(), value.parse()?))
        });
        let Stack { central, clickhouse, broker, .. } = &mut self.stack;
        let parts = [clickhouse.process(), central.process(), broker.process(), self.edge.process()];
        Ok(Moment {
            at: Instant::now(),
            counters: counters.collect::<Result<Counters>>()?,
            rows,
            processor: parts.map(|part| part.cpu_time()),
        })
    }
}

fn feed(exchange: &str, address: &str) -> Feed {
    let is_deribit = exchange.starts_with("deribit");
    let symbols: &[&str] = if is_deribit { &["BTC-USD", "ETH-USD"] } else { &["BTC-USDT", "ETH-USDT"] };
    let derivatives: &[&str] = match exchange {
        "deribit_derivatives" => &["funding_rate", "open_interest", "liquidation", "volatility_index"],
        name if name.ends_with("derivatives") => &ON_DERIVATIVES,
        _ => &[],
    };
    let market = if derivatives.is_empty() { "spot" } else { "perpetual" };
    let data_types = ON_ALL.iter().chain(derivatives).map(|&name| name.to_owned()).collect();
    Feed {
        data_types,
        extra: format!("market_types = [{market:?}]"),
        ..Feed::simulated(exchange, address, symbols)
    }
}

async fn parts_of_tables(clickhouse: &ClickHouse) -> Result<Vec<(String, u64)>> {
    let query = "SELECT concat(database, '.', table), count() FROM system.parts WHERE active AND startsWith(database, 'marketprism') \
                 GROUP BY 1 ORDER BY 1 FORMAT TSV";
    let text = clickhouse.text(query).await.map_err(|e| anyhow!(e))?;
    let row = |line: &str| {
        let (table, parts) = line.split_once('\t').context("no table")?;
        Ok((table.to_owned(), parts.parse()?))
    };
    text.lines().map(row).collect()
}
