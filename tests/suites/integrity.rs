//! Promise: the report tells complete from incomplete from unverifiable, from the venue's socket to a cold server of its own, with the cause.

use std::time::Duration;

use marketprism_tests::broker::Broker;
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::wait::until;
use marketprism_venue_sim::{FaultAction, FaultSpec, Sim, SimConfig};
use serde_json::Value;
use tempfile::TempDir;

const EXCHANGE: &str = "binance_spot";
const VENUE_SYMBOLS: [&str; 2] = ["BTCUSDT", "ETHUSDT"];
const SYMBOLS: [&str; 2] = ["BTC-USDT", "ETH-USDT"];

/// Length of a window in the tables below, so that a test sees many; everything is compared again every three seconds.
const WINDOW_SECONDS: u64 = 2;
const LEDGER: &str = "[consumers]\nack_wait_ms = 4000\n\
    [ledger]\nwindow_seconds = 2\ngrace_seconds = 12\ninterval_ms = 500\nrecheck_seconds = 3\n\
    [replication]\nwindow_seconds = 2\nsafety_lag_seconds = 1\ninterval_ms = 500\nrecheck_seconds = 3\n";
const AUDIT: &str = "[audit]\nwindow_seconds = 2\nsettle_ms = 500\n";

/// Longest wait for a statement of the report: grace, a comparison, and a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every part, hot and cold on engines of their own. What is first ends first.
struct World {
    edge: Edge,
    central: Central,
    sim: Sim,
    hot: ClickHouse,
    cold: ClickHouse,
    broker: Broker,
    _folder: TempDir,
}

/// A span of time that reports are asked about.
struct Span {
    from: String,
    to: String,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (broker, hot, cold) =
            tokio::join!(Broker::start(path), ClickHouse::start(path), ClickHouse::named(path, "cold"));
        let nats = format!("urls = [{:?}]", broker.url());
        let (hot_url, cold_url) = (hot.url(), cold.url());
        let settings =
            Settings { cold: Some(&cold_url), more: LEDGER, ..Settings::impatient(&nats, &hot_url) };
        let central = Central::with_settings(path, &settings).await;
        let config = SimConfig {
            symbols: VENUE_SYMBOLS.map(str::to_owned).to_vec(),
            rate: 200,
            start_paused: true,
            ..SimConfig::default()
        };
        let sim = Sim::start(config).await.unwrap();
        let address = sim.simulation().addr().to_string();
        let feed = Feed::simulated(EXCHANGE, &address, &SYMBOLS);
        let edge = Edge::with_tables(path, &nats, AUDIT, std::slice::from_ref(&feed)).await;
        until("the feed is ready", Duration::from_secs(30), || edge.get("/ready")).await;
        Self { edge, central, sim, hot, cold, broker, _folder: folder }
    }

    /// Lets the venue speak until so many further trades are in hot, with `meanwhile` in the middle of it, and gives the time that it took.
    async fn speak(&mut self, trades: u64, meanwhile: impl AsyncFnOnce(&mut Self)) -> Span {
        let from = window(&self.hot, 0).await;
        self.sim.simulation().resume();
        self.flows(trades / 2).await;
        meanwhile(self).await;
        self.flows(trades / 2).await;
        self.sim.simulation().pause();
        // The window with the last trade belongs to the span, whole.
        let to = window(&self.hot, 1).await;
        until("the last window ends", PATIENCE, || async {
            let begun = window(&self.hot, 0).await;
            if begun >= to { Ok(()) } else { Err(format!("the window of {begun} is not over")) }
        })
        .await;
        Span { from, to }
    }

    async fn flows(&self, more: u64) {
        let query = "SELECT count() FROM marketprism_hot.trades";
        let before = self.hot.number(query).await.unwrap();
        until("trades arrive", PATIENCE, || async {
            let found = self.hot.number(query).await?;
            if found >= before + more { Ok(()) } else { Err(format!("{found} of {}", before + more)) }
        })
        .await;
    }

    /// Asks for the report of a span until `judge` takes it. Exit codes: 0 whole, 1 not whole, 2 cannot tell.
    async fn report(&self, what: &str, span: &Span, judge: impl Fn(i32, &Value) -> bool) -> Value {
        until(what, PATIENCE, || async {
            let arguments = ["integrity", "--json", "--from", &span.from, "--to", &span.to];
            let (code, text, errors) = self.central.ask(&arguments).await;
            let report: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}{errors}"))?;
            if judge(code.unwrap_or(-1), &report) {
                return Ok(report);
            }
            let (windows, found) = (&report["windows"], &report["findings"]);
            Err(format!("exit {code:?}, {}, windows {windows}, findings {found}", report["verdict"]))
        })
        .await
    }

    async fn whole(&self, what: &str, span: &Span) -> Value {
        self.report(what, span, |code, report| {
            let count = |state: &str| report["windows"][state].as_u64().unwrap();
            code == 0 && count("verified") > 0 && count("open") == 0
        })
        .await
    }

    fn trades_of_the_venue(&self) -> u64 {
        let of = |symbol: &&str| self.sim.simulation().all_trades(EXCHANGE, symbol).unwrap().len();
        VENUE_SYMBOLS.iter().map(of).sum::<usize>().try_into().unwrap()
    }
}

/// When a window of this moment begins, or one so many later, as the report takes it.
async fn window(clickhouse: &ClickHouse, later: u64) -> String {
    let query = format!(
        "SELECT formatDateTime(toStartOfInterval(now('UTC'), toIntervalSecond({WINDOW_SECONDS})) + \
         toIntervalSecond({}), '%Y-%m-%dT%H:%i:%SZ')",
        later * WINDOW_SECONDS
    );
    clickhouse.text(&query).await.unwrap().trim().to_owned()
}

/// Waits until a query gives a number, and fails when it gives more.
async fn comes_to(clickhouse: &ClickHouse, query: &str, wanted: u64) {
    until(query, PATIENCE, || async {
        let found = clickhouse.number(query).await?;
        assert!(found <= wanted, "{found}, wanted {wanted}: {query}");
        if found == wanted { Ok(()) } else { Err(format!("{found} of {wanted}")) }
    })
    .await;
}

fn items<'a>(report: &'a Value, list: &str) -> &'a [Value] {
    report[list]["items"].as_array().map_or(&[], Vec::as_slice)
}

/// Goal: what arrived whole is called whole, and by the right numbers. Method: a real edge's windows against hot and cold on two servers, with
/// the broker killed in the middle; trades vouched for are as many as the simulator numbered, in both databases; then a row of cold is
/// deleted by hand: the report names the window, and `repair` mends it.
#[tokio::test(flavor = "multi_thread")]
async fn whole_is_called_whole_and_a_deleted_row_is_found_and_mended() {
    let mut world = World::start().await;
    let span = world
        .speak(600, async |world| {
            world.broker.kill();
            world.broker.restart().await;
        })
        .await;
    let sent = world.trades_of_the_venue();
    // A row is copied by when it was stored, which may be in a later window than those of the span.
    for (engine, database) in [(&world.hot, "marketprism_hot"), (&world.cold, "marketprism_cold")] {
        let query = format!("SELECT uniqExact(event_id) + count() FROM {database}.trades");
        comes_to(engine, &query, 2 * sent).await;
    }
    let vouched = "SELECT toUInt64(sum(expected)) FROM marketprism_hot.verdicts FINAL WHERE data_type = 'trade' AND state = 'verified'";
    comes_to(&world.hot, vouched, sent).await;
    let report = world.whole("everything is whole", &span).await;
    assert_eq!(report["windows"]["mismatch"], 0, "{report}");

    let victim = "SELECT trade_id FROM marketprism_cold.trades ORDER BY timestamp LIMIT 1 OFFSET 50";
    let victim = world.cold.text(victim).await.unwrap();
    let delete = format!(
        "ALTER TABLE marketprism_cold.trades DELETE WHERE trade_id = '{}' SETTINGS mutations_sync = 2",
        victim.trim()
    );
    world.cold.text(&delete).await.unwrap();
    let names_the_window = |report: &Value| {
        items(report, "worst_windows").iter().any(|window| {
            window["kind"] == "replication" && window["of"] == "trades" && window["state"] == "mismatch"
        })
    };
    world
        .report("the deleted row is seen, and its window named", &span, |code, report| {
            code == 1 && names_the_window(report)
        })
        .await;
    let (code, said, errors) = world.central.ask(&["repair", "--table", "trades"]).await;
    assert_eq!(code, Some(0), "repair: {said}{errors}");
    world.whole("the repaired window is whole again", &span).await;
    let query = "SELECT uniqExact(event_id) + count() FROM marketprism_cold.trades";
    assert_eq!(world.cold.number(query).await.unwrap(), 2 * sent, "trades in cold after the repair");
}

/// Goal: a hole that the venue made is told as the venue's, with its size; what a killed edge could not report is told as not to be
/// verified, and is never called whole. Method: the simulator leaves out three trades; the edge is killed -9 while trades flow.
#[tokio::test(flavor = "multi_thread")]
async fn the_venues_hole_and_the_killed_edge_are_named() {
    let mut world = World::start().await;
    let hole = world
        .speak(300, async |world| {
            let mut drop = FaultSpec::new(FaultAction::Drop);
            drop.exchange = Some(EXCHANGE.to_owned());
            drop.symbol = Some("BTCUSDT".to_owned());
            drop.stream = Some("rade".to_owned());
            drop.count = Some(3);
            let id = world.sim.simulation().fault(drop).unwrap();
            let simulation = world.sim.simulation();
            until("three trades are left out", PATIENCE, || async {
                let fired = simulation.fired(id);
                if fired == 3 { Ok(()) } else { Err(format!("{fired}")) }
            })
            .await;
        })
        .await;
    // It may lie in two windows, of which one is judged first.
    let missing = |report: &Value| -> u64 {
        let holes = items(report, "gaps").iter().filter(|gap| {
            gap["cause"] == "venue"
                && gap["stream"] == "trade.binance_spot.spot.BTC-USDT"
                && gap["kind"] == "trade_ids"
        });
        holes.map(|gap| gap["missing"].as_u64().unwrap()).sum()
    };
    let told =
        world.report("the hole is told", &hole, |code, report| code == 1 && missing(report) >= 3).await;
    assert_eq!(missing(&told), 3, "{told}");

    let killed = world
        .speak(300, async |world| {
            world.edge.kill();
            world.edge.restart().await;
            let edge = &world.edge;
            until("the feed is ready again", PATIENCE, || edge.get("/ready")).await;
        })
        .await;
    let names_the_edge = |report: &Value| {
        items(report, "worst_windows")
            .iter()
            .any(|window| window["state"] == "unverifiable" && window["edge"] == "edge-test")
    };
    world
        .report("windows of the killed edge cannot be verified", &killed, |code, report| {
            code != 0 && report["windows"]["unverifiable"].as_u64().unwrap() > 0 && names_the_edge(report)
        })
        .await;
}
