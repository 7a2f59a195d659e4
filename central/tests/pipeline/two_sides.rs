//! Hot and cold of a test, and rows written straight into hot.

use std::ops::Range;
use std::time::Instant;

use clickhouse::Client;
use marketprism_tests::process::Process;
use marketprism_tests::wait::{PATIENCE, eventually};

use crate::stack::Stack;

/// Milliseconds of a window in these tests.
pub const MINUTE_MS: i64 = 60_000;

/// The shortest delay of a removal from hot is what a stream keeps.
pub const SHORT_STREAMS: &str =
    "[streams.market_data]\nmax_age_seconds = 3600\n[streams.orderbook_snap]\nmax_age_seconds = 3600\n";

/// Short waits for everything that replication waits for.
pub const QUICK: &str = "[replication]\nsafety_lag_seconds = 0\ninterval_ms = 100\nrecheck_seconds = 1\n";

/// A broker, and hot and cold on one engine or on two.
pub struct TwoSides {
    pub stack: Stack,
    pub settings: String,
}

impl TwoSides {
    /// Tables are created. `None` when a part is not installed.
    pub async fn on_one_engine(settings: &str) -> Option<Self> {
        Some(Self::create(Stack::start().await?, settings))
    }

    pub async fn on_two_engines(settings: &str) -> Option<Self> {
        Some(Self::create(Stack::on_two_engines().await?, settings))
    }

    fn create(stack: Stack, settings: &str) -> Self {
        stack.init(&stack.configure(settings), &[], 0);
        Self { stack, settings: settings.to_owned() }
    }

    /// Starts a central that replicates.
    pub fn replicate(&self) -> Process {
        self.stack.run(&self.stack.configure(&self.settings))
    }

    pub fn cold(&self) -> Client {
        self.stack.cold()
    }

    pub async fn in_hot(&self, sql: &str) {
        self.stack.execute(sql).await;
    }

    pub async fn in_cold(&self, sql: &str) {
        self.cold().query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Writes numbered trades into hot, `a_window` per window; the first window begins at `first_ms`.
    pub async fn trades(&self, numbers: Range<u64>, first_ms: i64, a_window: u64) {
        self.trades_of(numbers, first_ms, a_window, first_ms - 100).await;
    }

    /// With another venue time of the first trade than that of the first window.
    pub async fn trades_of(&self, numbers: Range<u64>, first_ms: i64, a_window: u64, venue_ms: i64) {
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

    /// Rows and distinct events of a cold table; nothing while it is unreachable.
    pub async fn cold_counts(&self, table: &str) -> Option<(u64, u64)> {
        let sql = format!("SELECT count(), uniqExact(event_id) FROM marketprism_cold.{table}");
        self.cold().query_raw(&sql).fetch_one::<(u64, u64)>().await.ok()
    }

    /// Waits until cold has so many events, with none twice at any time.
    pub async fn cold_holds_once(&self, table: &str, events: u64) {
        let began = Instant::now();
        eventually(&format!("{events} rows in cold {table}"), async || {
            let (rows, distinct) = self.cold_counts(table).await.ok_or("cold is unreachable")?;
            assert_eq!(rows, distinct, "cold {table} has an event twice");
            assert!(rows <= events, "cold {table} has {rows} rows of {events}");
            if rows == events { Ok(()) } else { Err(format!("{rows} rows{}", self.late(began, table).await)) }
        })
        .await;
    }

    /// Windows of a table by state, for a wait that may fail.
    pub async fn late(&self, began: Instant, table: &str) -> String {
        match began.elapsed() > PATIENCE / 2 {
            true => format!(", {:?}", self.windows(table).await),
            false => String::new(),
        }
    }

    /// The watermark is past every row of hot: rows are in cold a moment before.
    pub async fn watermark_covers(&self, table: &str) {
        let newest = format!("SELECT toInt64(max(created_at)) FROM marketprism_hot.{table}");
        eventually("the watermark to pass all rows", async || {
            let newest = self.stack.hot().query_raw(&newest).fetch_one::<i64>().await;
            let (newest, upto) = (newest.map_err(|e| e.to_string())?, self.watermark(table).await);
            if upto > Some(newest) { Ok(()) } else { Err(format!("{upto:?}, newest row {newest}")) }
        })
        .await;
    }

    /// 0 without one, `None` without an answer.
    pub async fn watermark(&self, table: &str) -> Option<i64> {
        let sql = format!(
            "SELECT toInt64(max(upto)) FROM marketprism_cold.watermarks WHERE table_name = '{table}'"
        );
        self.cold().query_raw(&sql).fetch_one().await.ok()
    }

    /// Moves the times of the window log back, while no central runs.
    pub async fn log_was_written_hours_ago(&self, hours: u32) {
        move_back(&self.cold(), "marketprism_cold.window_log", "logged_at", hours).await;
    }

    /// As [`Self::log_was_written_hours_ago`], of the positions of hot.
    pub async fn positions_were_written_hours_ago(&self, hours: u32) {
        move_back(&self.stack.hot(), "marketprism_hot.positions", "written_at", hours).await;
    }

    /// Windows of a table by state, from the log.
    pub async fn windows(&self, table: &str) -> Vec<(String, u64)> {
        let sql = format!(
            "SELECT toString(state), count() FROM marketprism_cold.window_log FINAL WHERE table_name = '{table}' GROUP BY state \
             ORDER BY state"
        );
        self.cold().query_raw(&sql).fetch_all().await.unwrap()
    }

    /// Waits until the window log has these numbers of windows by state.
    pub async fn windows_are(&self, table: &str, wanted: &[(&str, u64)]) {
        let wanted: Vec<(String, u64)> = wanted.iter().map(|(s, n)| ((*s).to_owned(), *n)).collect();
        eventually(&format!("windows of {table}: {wanted:?}"), async || {
            let found = self.windows(table).await;
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }

    /// State and reason of the window that begins at `start_ms`.
    pub async fn window(&self, table: &str, start_ms: i64) -> Option<(String, String)> {
        let sql = format!(
            "SELECT toString(state), reason FROM marketprism_cold.window_log FINAL WHERE table_name = '{table}' AND window_start = \
             fromUnixTimestamp64Milli({start_ms}, 'UTC')"
        );
        self.cold().query_raw(&sql).fetch_optional().await.unwrap()
    }

    pub async fn window_becomes(&self, table: &str, start_ms: i64, state: &str, reason: &str) {
        let what = format!("window {start_ms} of {table} is {state} because {reason:?}");
        eventually(&what, async || match self.window(table, start_ms).await {
            Some((s, r)) if s == state && r.contains(reason) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }

    /// All rows of a table on both sides as text, in order of event id.
    pub async fn contents(&self, table: &str) -> [Vec<String>; 2] {
        let rows = async |client: Client, database: &str| {
            let sql = format!("SELECT toString(tuple(*)) FROM {database}.{table} ORDER BY event_id");
            client.query_raw(&sql).fetch_all::<String>().await.unwrap()
        };
        [rows(self.stack.hot(), "marketprism_hot").await, rows(self.cold(), "marketprism_cold").await]
    }

    /// Both sides have the same rows, down to the last column.
    pub async fn are_the_same(&self, table: &str) {
        let digest = async |client: Client, database: &str| {
            let sql = format!(
                "SELECT count(), groupBitXor(hash), sum(hash) FROM (SELECT sipHash64(toString(tuple(*))) AS hash FROM {database}.{table})"
            );
            client.query_raw(&sql).fetch_one::<(u64, u64, u64)>().await.unwrap()
        };
        let hot = digest(self.stack.hot(), "marketprism_hot").await;
        let cold = digest(self.cold(), "marketprism_cold").await;
        assert!(hot == cold, "{table}: {} rows in hot, {} in cold, and not the same", hot.0, cold.0);
    }
}

async fn move_back(client: &Client, table: &str, column: &str, hours: u32) {
    for sql in [
        format!("CREATE TABLE {table}_before AS {table}"),
        format!("INSERT INTO {table}_before SELECT * FROM {table}"),
        format!("TRUNCATE TABLE {table}"),
        format!(
            "INSERT INTO {table} SELECT * REPLACE ({column} - INTERVAL {hours} HOUR AS {column}) FROM {table}_before"
        ),
        format!("DROP TABLE {table}_before SYNC"),
    ] {
        client.query_raw(&sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

fn created(first_ms: i64, from: u64, a_window: u64) -> String {
    let step_ms = MINUTE_MS / i64::try_from(a_window).unwrap().max(1);
    let step_us =
        if step_ms > 0 { step_ms * 1_000 } else { MINUTE_MS * 1_000 / i64::try_from(a_window).unwrap() };
    format!(
        "fromUnixTimestamp64Milli(toInt64({first_ms} + intDiv(n - {from}, {a_window}) * {MINUTE_MS} + intDiv((n - {from}) % \
         {a_window} * {step_us}, 1000)), 'UTC')"
    )
}

pub fn minutes_ago(minutes: i64) -> i64 {
    let now_ms = crate::events::now_us() / 1_000;
    now_ms - now_ms.rem_euclid(MINUTE_MS) - minutes * MINUTE_MS
}
