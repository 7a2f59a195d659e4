//! Every part of the system, with windows of two seconds.

use marketprism_tests::broker::Broker;
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::link::Link;
use marketprism_tests::stack::two_sides;
use marketprism_tests::wait::{becomes, eventually};
use marketprism_venue_sim::{FaultAction, FaultSpec, Sim};
use serde_json::Value;
use tempfile::TempDir;

use super::EXCHANGE;
use crate::{SYMBOLS, VENUE_SYMBOLS, two_symbols};

/// Window length in the configurations below: short, so that a test sees many windows.
pub const WINDOW_SECONDS: u64 = 2;
/// Length of the copied windows where a test is about what is in hot: each costs a dozen queries a table.
const COPIED_SECONDS: u64 = 10;
pub const LEDGER: &str = "[consumers]\nack_wait_ms = 4000\n[batch]\nmax_age_others_ms = 1000\n\
    [ledger]\nwindow_seconds = 2\ngrace_seconds = 8\ninterval_ms = 1000\nrecheck_seconds = 6\n";
pub const AUDIT: &str = "[audit]\nwindow_seconds = 2\nsettle_ms = 500\n";

/// All parts, hot and cold on separate engines. Dropped in the order of the fields.
pub struct System {
    pub edge: Edge,
    pub central: Central,
    /// From the edge to the venue.
    pub venue: Link,
    pub sim: Sim,
    pub hot: ClickHouse,
    pub cold: ClickHouse,
    pub broker: Broker,
    pub folder: TempDir,
}

pub struct Span {
    pub from: String,
    pub to: String,
}

impl System {
    pub async fn start() -> Self {
        Self::with(false, COPIED_SECONDS).await
    }

    pub async fn with_backfill() -> Self {
        Self::with(true, COPIED_SECONDS).await
    }

    /// Rows are in cold, and compared there, as soon as their window is over.
    pub async fn copied_soon() -> Self {
        Self::with(false, WINDOW_SECONDS).await
    }

    /// `copied_seconds`: length of the windows that are copied to cold.
    async fn with(backfill: bool, copied_seconds: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let more = format!(
            "{LEDGER}[replication]\nwindow_seconds = {copied_seconds}\nsafety_lag_seconds = 1\ninterval_ms = 500\nrecheck_seconds = {}\n",
            2 * copied_seconds
        );
        let settings = Settings { more: &more, ..Settings::impatient("", "") };
        let (broker, hot, cold, central) = two_sides(path, settings).await;
        let sim = Sim::start(two_symbols(200)).await.unwrap();
        // The feed starts across the begin of a window, and a report may begin with that window.
        let away = FaultSpec::new(FaultAction::Refuse).exchange(EXCHANGE).duration_ms(WINDOW_SECONDS * 1_000);
        sim.fault(away).unwrap();
        let venue = Link::to(sim.addr().port()).await;
        let address = format!("127.0.0.1:{}", venue.near());
        let feed = Feed { backfill, ..Feed::simulated(EXCHANGE, &address, &SYMBOLS) };
        let edge = Edge::with_tables(path, &broker.nats(), AUDIT, std::slice::from_ref(&feed)).await;
        eventually("the feed is ready", || edge.get("/ready")).await;
        Self { edge, central, venue, sim, hot, cold, broker, folder }
    }

    /// Generates data until this many further trades are in hot, with `meanwhile` in the middle; returns the time range of all windows with
    /// these trades.
    pub async fn collect(&mut self, trades: u64, meanwhile: impl AsyncFnOnce(&mut Self)) -> Span {
        let from = window(&self.hot, 0).await;
        self.sim.resume();
        self.flows(trades / 2).await;
        meanwhile(self).await;
        self.flows(trades / 2).await;
        self.sim.pause();
        // The whole window with the last trade belongs to the range.
        let to = window(&self.hot, 1).await;
        becomes("the last window ends", || window(&self.hot, 0), |begun| *begun >= to).await;
        Span { from, to }
    }

    pub async fn flows(&self, more: u64) {
        let query = "SELECT count() FROM marketprism_hot.trades";
        let before = self.hot.number(query).await.unwrap();
        self.hot.reaches(query, before + more).await;
    }

    /// Requests the report of a time range until `accepts` is true. Exit codes: 0 complete, 1 incomplete, 2 unverifiable.
    pub async fn report(&self, what: &str, span: &Span, accepts: impl Fn(i32, &Value) -> bool) -> Value {
        eventually(what, || async {
            let arguments = ["integrity", "--json", "--from", &span.from, "--to", &span.to];
            let (code, text, errors) = self.central.ask(&arguments).await;
            let report: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}{errors}"))?;
            if accepts(code.unwrap_or(-1), &report) {
                return Ok(report);
            }
            let (windows, found) = (&report["windows"], &report["findings"]);
            Err(format!("exit {code:?}, {}, windows {windows}, findings {found}", report["verdict"]))
        })
        .await
    }

    pub async fn complete(&self, what: &str, span: &Span) -> Value {
        self.report(what, span, |code, report| {
            let count = |state: &str| report["windows"][state].as_u64().unwrap();
            code == 0 && count("verified") > 0 && count("open") == 0
        })
        .await
    }

    pub fn venue_trades(&self) -> u64 {
        let of = |symbol: &&str| self.sim.all_trades(EXCHANGE, symbol).unwrap().len();
        VENUE_SYMBOLS.iter().map(of).sum::<usize>().try_into().unwrap()
    }
}

/// Start of the current window, or of one `later` windows after it, in the report's format.
pub async fn window(clickhouse: &ClickHouse, later: u64) -> String {
    let query = format!(
        "SELECT formatDateTime(toStartOfInterval(now('UTC'), toIntervalSecond({WINDOW_SECONDS})) + \
         toIntervalSecond({}), '%Y-%m-%dT%H:%i:%SZ')",
        later * WINDOW_SECONDS
    );
    clickhouse.text(&query).await.unwrap().trim().to_owned()
}

/// Waits until a query returns `wanted`; fails when it returns more.
pub async fn reaches(clickhouse: &ClickHouse, query: &str, wanted: u64) {
    eventually(query, || async {
        let found = clickhouse.number(query).await?;
        assert!(found <= wanted, "{found}, wanted {wanted}: {query}");
        if found == wanted { Ok(()) } else { Err(format!("{found} of {wanted}")) }
    })
    .await;
}

pub fn items<'a>(report: &'a Value, list: &str) -> &'a [Value] {
    report[list]["items"].as_array().map_or(&[], Vec::as_slice)
}

/// Seconds since 1970 of the engines' clock.
pub async fn seconds(clickhouse: &ClickHouse) -> u64 {
    clickhouse.number("SELECT toUInt64(toUnixTimestamp(now()))").await.unwrap()
}

impl System {
    /// Waits for whole windows.
    pub async fn passes(&self, windows: u64) {
        let until_second = seconds(&self.hot).await + windows * WINDOW_SECONDS;
        eventually("windows pass", || async {
            if seconds(&self.hot).await >= until_second { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    }

    pub async fn restarts(&mut self) {
        self.edge.restart().await;
        eventually("the feed is ready again", || self.edge.get("/ready")).await;
        // The first frame ends the downtime.
        self.edge.reaches("marketprism_edge_frames_total", "", 1).await;
    }
}

impl System {
    /// Trades that the venue sent and hot does not have.
    pub async fn lost(&self) -> u64 {
        let query = "SELECT uniqExact(venue_symbol, trade_id) FROM marketprism_hot.trades";
        self.venue_trades() - self.hot.number(query).await.unwrap()
    }
}
