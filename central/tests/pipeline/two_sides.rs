//! Hot and cold of a test, and rows written straight into hot.

use std::time::{Duration, Instant};

use clickhouse::Client;

use crate::stack::{Running, Stack};

/// Milliseconds of a window in these tests.
pub const MINUTE_MS: i64 = 60_000;

/// Short waits for everything that replication waits for.
pub const QUICK: &str = "[replication]\nsafety_lag_seconds = 0\ninterval_ms = 100\nrecheck_seconds = 1\n";

/// A broker, and hot and cold on one engine or on two.
pub struct TwoSides {
    /// Broker, hot and cold.
    pub stack: Stack,
    /// Appended to the configuration.
    pub settings: String,
}

impl TwoSides {
    /// Both on one engine, tables laid out. Nothing when a part is not installed.
    pub fn on_one_engine(settings: &str) -> Option<Self> {
        let sides = Self { stack: Stack::start()?, settings: settings.to_owned() };
        sides.lay_out();
        Some(sides)
    }

    /// Each on an engine of its own.
    pub fn on_two_engines(settings: &str) -> Option<Self> {
        let mut stack = Stack::start()?;
        stack.start_cold_clickhouse();
        let sides = Self { stack, settings: settings.to_owned() };
        sides.lay_out();
        Some(sides)
    }

    fn lay_out(&self) {
        let made = self.stack.init(&self.stack.configure(&self.settings), &[]);
        assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// Starts a central that copies.
    pub fn replicate(&self) -> Running {
        self.stack.run(&self.stack.configure(&self.settings))
    }

    /// A client of hot.
    pub fn hot(&self) -> Client {
        self.stack.clickhouse()
    }

    /// A client of cold.
    pub fn cold(&self) -> Client {
        self.stack.cold_clickhouse()
    }

    /// Runs a statement in hot.
    pub async fn in_hot(&self, sql: &str) {
        self.hot().query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs a statement in cold.
    pub async fn in_cold(&self, sql: &str) {
        self.cold().query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Writes numbered trades into hot: as many a window as asked for, the first window at a moment.
    pub async fn trades(&self, numbers: std::ops::Range<u64>, first_ms: i64, a_window: u64) {
        self.trades_of(numbers, first_ms, a_window, first_ms - 100).await;
    }

    /// The same with a venue time for the first trade that is not that of the first window.
    pub async fn trades_of(
        &self,
        numbers: std::ops::Range<u64>,
        first_ms: i64,
        a_window: u64,
        venue_ms: i64,
    ) {
        let (from, count) = (numbers.start, numbers.end - numbers.start);
        self.in_hot(&format!(
            "INSERT INTO marketprism_hot.trades (timestamp, exchange, market_type, symbol, venue_symbol, trade_id, price, quantity, \
             side, is_maker, received_at, event_id, edge, region, adapter, data_source, stream_seq, created_at) SELECT \
             {created} - toIntervalMillisecond({first_ms} - {venue_ms}), 'sim_spot', 'spot', concat('S', toString(n % 7), '-USDT'), concat('S', toString(n % 7)), toString(n), \
             toDecimal128(n, 18) / 100, toDecimal128('0.5', 18), if(n % 2 = 0, 'buy', 'sell'), n % 2, {created}, \
             reinterpretAsUInt128(sipHash128(n)), 'e', 'r', 'a', 'live', n, {created} FROM (SELECT number + {from} AS n FROM \
             numbers({count}))",
            created = created(first_ms, from, a_window)
        ))
        .await;
    }

    /// Rows and distinct events of a table of cold; nothing while it is away.
    pub async fn cold_counts(&self, table: &str) -> Option<(u64, u64)> {
        let sql = format!("SELECT count(), uniqExact(event_id) FROM marketprism_cold.{table}");
        self.cold().query_raw(&sql).fetch_one::<(u64, u64)>().await.ok()
    }

    /// Waits until cold holds so many events, none twice at any moment looked at.
    pub async fn cold_holds_once(&self, table: &str, events: u64) {
        let mut seen = 0;
        let deadline = Instant::now() + Duration::from_secs(60);
        while seen != events {
            assert!(
                Instant::now() < deadline,
                "cold {table} holds {seen} of {events}: {:?}",
                self.windows(table).await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
            let Some((rows, distinct)) = self.cold_counts(table).await else { continue };
            assert_eq!(rows, distinct, "cold {table} shows an event twice");
            assert!(rows <= events, "cold {table} has {rows} rows of {events}");
            seen = rows;
        }
    }

    /// Windows of a table by state, from the log.
    pub async fn windows(&self, table: &str) -> Vec<(String, u64)> {
        let sql = format!(
            "SELECT toString(state), count() FROM marketprism_cold.window_log FINAL WHERE table_name = '{table}' GROUP BY state \
             ORDER BY state"
        );
        self.cold().query_raw(&sql).fetch_all().await.unwrap()
    }

    /// Waits until the log says so of a table's windows.
    pub async fn windows_are(&self, table: &str, wanted: &[(&str, u64)]) {
        let wanted: Vec<(String, u64)> = wanted.iter().map(|(s, n)| ((*s).to_owned(), *n)).collect();
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let found = self.windows(table).await;
            if found == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "windows of {table}: {found:?}, wanted {wanted:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// State and reason of the window that starts at a moment.
    pub async fn window(&self, table: &str, start_ms: i64) -> Option<(String, String)> {
        let sql = format!(
            "SELECT toString(state), reason FROM marketprism_cold.window_log FINAL WHERE table_name = '{table}' AND window_start = \
             fromUnixTimestamp64Milli({start_ms}, 'UTC')"
        );
        self.cold().query_raw(&sql).fetch_optional().await.unwrap()
    }

    /// Waits until a window is in a state for a reason.
    pub async fn window_becomes(&self, table: &str, start_ms: i64, state: &str, reason: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let found = self.window(table, start_ms).await;
            if found.as_ref().is_some_and(|(s, r)| s == state && r.contains(reason)) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "window {start_ms} of {table} is {found:?}, wanted {state} because {reason:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// All rows of a table on both sides, as text in order of event id.
    pub async fn contents(&self, table: &str) -> [Vec<String>; 2] {
        let rows = async |client: Client, database: &str| {
            let sql = format!("SELECT toString(tuple(*)) FROM {database}.{table} ORDER BY event_id");
            client.query_raw(&sql).fetch_all::<String>().await.unwrap()
        };
        [rows(self.hot(), "marketprism_hot").await, rows(self.cold(), "marketprism_cold").await]
    }

    /// Asserts that both sides hold the same rows, down to the last column.
    pub async fn are_the_same(&self, table: &str) {
        let [hot, cold] = self.contents(table).await;
        assert!(hot == cold, "{table}: {} rows in hot, {} in cold, and not the same", hot.len(), cold.len());
    }
}

/// `created_at` of row `n`: spread over its window.
fn created(first_ms: i64, from: u64, a_window: u64) -> String {
    let step_ms = MINUTE_MS / i64::try_from(a_window).unwrap().max(1);
    let step_us =
        if step_ms > 0 { step_ms * 1_000 } else { MINUTE_MS * 1_000 / i64::try_from(a_window).unwrap() };
    format!(
        "fromUnixTimestamp64Milli(toInt64({first_ms} + intDiv(n - {from}, {a_window}) * {MINUTE_MS} + intDiv((n - {from}) % \
         {a_window} * {step_us}, 1000)), 'UTC')"
    )
}

/// Start of the window so many minutes ago.
pub fn minutes_ago(minutes: i64) -> i64 {
    let now_ms = crate::events::now_us() / 1_000;
    now_ms - now_ms.rem_euclid(MINUTE_MS) - minutes * MINUTE_MS
}
