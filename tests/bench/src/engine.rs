//! The engine's own limit: the same rows in Native format from a file, into an identical table, by one plain HTTP insert.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use marketprism_tests::clickhouse::{ClickHouse, client};

/// The best of so many inserts counts.
const ROUNDS: usize = 3;

/// Copies the rows of `database.table` into a file, and inserts that file into an identical table. Gives the shortest time.
pub async fn native_insert(
    clickhouse: &ClickHouse,
    database: &str,
    table: &str,
    rows: u64,
) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rows.native");
    let client = client();
    let select = format!("SELECT * FROM {database}.{table} FORMAT Native");
    let answer = client.post(clickhouse.url()).body(select).send().await?.error_for_status()?;
    std::fs::write(&file, answer.bytes().await?)?;
    let copy = format!("{database}.{table}_from_file");
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        execute(clickhouse, &format!("DROP TABLE IF EXISTS {copy} SYNC")).await?;
        execute(clickhouse, &format!("CREATE TABLE {copy} AS {database}.{table}")).await?;
        let insert = format!("INSERT INTO {copy} FORMAT Native");
        let started = Instant::now();
        let body = std::fs::read(&file)?;
        let url = reqwest::Url::parse_with_params(&clickhouse.url(), [("query", insert.as_str())])?;
        let answer = client.post(url).body(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        let time = started.elapsed();
        ensure!(status.is_success(), "the engine refused rows in Native format: {status}: {text}");
        best = best.min(time);
        let stored =
            clickhouse.number(&format!("SELECT count() FROM {copy}")).await.map_err(|e| anyhow!(e))?;
        ensure!(stored == rows, "{stored} of {rows} rows are in {copy}");
    }
    execute(clickhouse, &format!("DROP TABLE {copy} SYNC")).await?;
    Ok(best)
}

/// Runs a statement.
pub async fn execute(clickhouse: &ClickHouse, sql: &str) -> Result<()> {
    clickhouse.text(sql).await.map(drop).map_err(|e| anyhow!(e)).with_context(|| sql.to_owned())
}
