//! Replication of hot to cold with verification, relative to the engine's own copy of the same rows.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use marketprism_tests::clickhouse::{ClickHouse, client};
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::stack::Stack;

use crate::edge::rate;
use crate::engine::execute;

const WINDOWS: u64 = 10;
const MINUTE_MS: u64 = 60_000;
/// Rounds per side; the best counts.
const ROUNDS: usize = 5;
/// Limit of one round.
const LIMIT: Duration = Duration::from_secs(180);
const GOAL_TIMES: f64 = 2.0;
const ACTIVE: &str = "marketprism_cold_replicator_is_active";
const VERIFIED: &str = "marketprism_cold_windows_total{state=\"verified\",table=\"trades\"}";

struct Replicated {
    /// From the acquired lease to the last verified window.
    itself: Duration,
    /// From the start of the process.
    with_start: Duration,
}

/// Fills hot while central is down. Then alternately: the engine copies the rows, and a central with an empty cold database copies,
/// verifies and logs them.
pub async fn measure(report: &mut Report, rows: u64) -> Result<()> {
    let mut stack = Stack::plain().await;
    stack.central.kill();
    let first_ms = first_window(&stack.clickhouse).await?;
    execute(&stack.clickhouse, &trades(rows, first_ms)).await?;

    let [mut windows, mut at_once, mut itself, mut with_start] = [Duration::MAX; 4];
    for _ in 0..ROUNDS {
        let each = (0..WINDOWS).map(|index| window(first_ms, index)).collect::<Vec<_>>();
        windows = windows.min(bare_copy(&stack.clickhouse, rows, &each).await?);
        at_once = at_once.min(bare_copy(&stack.clickhouse, rows, &["1".to_owned()]).await?);
        let replicated = replicate(&mut stack, rows).await?;
        itself = itself.min(replicated.itself);
        with_start = with_start.min(replicated.with_start);
    }
    report.figure("replication, bare INSERT SELECT, all rows at once", rate(rows, at_once), "rows/s");
    report.figure("replication, bare INSERT SELECT, window by window", rate(rows, windows), "rows/s");
    report.figure("replication, copied, verified and logged", rate(rows, itself), "rows/s");
    let name = "replication, copied, verified and logged, start of central included";
    report.figure(name, rate(rows, with_start), "rows/s");
    let times = |bare: Duration| itself.as_secs_f64() / bare.as_secs_f64();
    report.figure("replication with verification / bare copy at once, time", times(at_once), "times");
    let name = "replication with verification / bare copy of the same windows, time";
    report.goal(name, times(windows), "times", Goal::AtMost(GOAL_TIMES));
    Ok(())
}

/// Copies the rows of each condition into an empty identical table, one statement each.
async fn bare_copy(clickhouse: &ClickHouse, rows: u64, conditions: &[String]) -> Result<Duration> {
    let bare = "marketprism_cold.bare";
    execute(clickhouse, &format!("DROP TABLE IF EXISTS {bare} SYNC")).await?;
    execute(clickhouse, &format!("CREATE TABLE {bare} AS marketprism_cold.trades")).await?;
    let started = Instant::now();
    for condition in conditions {
        execute(
            clickhouse,
            &format!("INSERT INTO {bare} SELECT * FROM marketprism_hot.trades WHERE {condition}"),
        )
        .await?;
    }
    let took = started.elapsed();
    holds(clickhouse, &format!("SELECT count() FROM {bare}"), rows).await?;
    execute(clickhouse, &format!("DROP TABLE {bare} SYNC")).await?;
    Ok(took)
}

/// One central, from an empty cold database to the last verified window. Both times come from its metrics, without load on the engine; the
/// tables are compared afterwards.
async fn replicate(stack: &mut Stack, rows: u64) -> Result<Replicated> {
    for table in ["trades", "window_log", "watermarks"] {
        execute(&stack.clickhouse, &format!("TRUNCATE TABLE marketprism_cold.{table} SYNC")).await?;
    }
    let metrics = Metrics { client: client(), url: stack.central.url("/metrics") };
    let started = Instant::now();
    stack.central.start_without_waiting();
    let active = metrics.reaches(ACTIVE, 1).await?;
    let verified = metrics.reaches(VERIFIED, WINDOWS).await?;
    stack.central.kill();
    let logged = "SELECT toUInt64(sum(cold_rows)) FROM marketprism_cold.window_log FINAL WHERE table_name = 'trades' \
                  AND state = 'verified'";
    holds(&stack.clickhouse, logged, rows).await?;
    holds(&stack.clickhouse, "SELECT count() FROM marketprism_cold.trades", rows).await?;
    holds(&stack.clickhouse, "SELECT uniqExact(event_id) FROM marketprism_cold.trades", rows).await?;
    Ok(Replicated { itself: verified - active, with_start: verified - started })
}

struct Metrics {
    client: reqwest::Client,
    url: String,
}

impl Metrics {
    /// Time at which a value reached `wanted`.
    async fn reaches(&self, name: &str, wanted: u64) -> Result<Instant> {
        let began = Instant::now();
        loop {
            let found = self.value(name).await.unwrap_or(0.0);
            if found >= wanted as f64 {
                return Ok(Instant::now());
            }
            ensure!(began.elapsed() < LIMIT, "{name} is {found}, wanted {wanted}, after {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// `None` before central listens or has counted.
    async fn value(&self, name: &str) -> Option<f64> {
        let text = self.client.get(&self.url).send().await.ok()?.text().await.ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    }
}

/// Start of the first window; the last one closed some minutes ago.
async fn first_window(clickhouse: &ClickHouse) -> Result<u64> {
    let now = clickhouse.number("SELECT toUnixTimestamp(now('UTC'))").await.map_err(|e| anyhow!(e))?;
    let now_ms = now * 1_000;
    Ok(now_ms - now_ms % MINUTE_MS - 2 * WINDOWS * MINUTE_MS)
}

fn window(first_ms: u64, index: u64) -> String {
    let from_ms = first_ms + index * MINUTE_MS;
    let to_ms = from_ms + MINUTE_MS;
    format!(
        "created_at >= fromUnixTimestamp64Milli({from_ms}, 'UTC') AND created_at < fromUnixTimestamp64Milli({to_ms}, 'UTC')"
    )
}

/// Trades of ten symbols, evenly over the windows, each stored 100 ms after the venue's time.
fn trades(rows: u64, first_ms: u64) -> String {
    let length_ms = WINDOWS * MINUTE_MS;
    format!(
        "INSERT INTO marketprism_hot.trades SELECT at - toIntervalMillisecond(100), \
         'bench', 'spot', concat('S', toString(n % 10), '-USDT'), 'SUSDT', toString(n), \
         toDecimal128(64000 + n % 1000, 18), toDecimal128(1, 18) / (1 + n % 97), if(n % 2 = 0, 'buy', 'sell'), \
         n % 2 = 1, at - toIntervalMillisecond(50), \
         bitOr(bitShiftLeft(toUInt128(sipHash64(n)), 64), toUInt128(sipHash64(n, 1))), 'edge-bench', 'bench', \
         'bench@1.0.0+0123456789ab', 'live', n + 1, at \
         FROM (SELECT number AS n, fromUnixTimestamp64Milli(toInt64({first_ms} + intDiv(number * {length_ms}, {rows})), 'UTC') AS at \
         FROM numbers({rows})) SETTINGS max_partitions_per_insert_block = 0"
    )
}

/// Fails when a query returns another number.
async fn holds(clickhouse: &ClickHouse, query: &str, wanted: u64) -> Result<()> {
    let found = clickhouse.number(query).await.map_err(|e| anyhow!(e))?;
    ensure!(found == wanted, "{found} instead of {wanted}: {query}");
    Ok(())
}
