//! The engine's limit: the same rows from files in Native format into an identical table, by sequential HTTP inserts.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use marketprism_tests::clickhouse::{ClickHouse, client};
use tempfile::TempDir;

/// Rows of `database.table` in files, in stream order.
pub struct Files {
    source: String,
    copy: String,
    rows: u64,
    files: Vec<PathBuf>,
    _folder: TempDir,
}

impl Files {
    /// Copies the rows into files of `piece` rows each.
    pub async fn export(clickhouse: &ClickHouse, source: &str, rows: u64, piece: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let files = export(clickhouse, source, rows, piece, folder.path()).await?;
        let (source, copy) = (source.to_owned(), format!("{source}_from_file"));
        Ok(Self { source, copy, rows, files, _folder: folder })
    }

    /// Inserts the files into a new table, which is dropped again.
    pub async fn insert(&self, clickhouse: &ClickHouse) -> Result<Duration> {
        let Self { source, copy, rows, files, .. } = self;
        execute(clickhouse, &format!("CREATE TABLE {copy} AS {source}")).await?;
        let time = insert(clickhouse, copy, files).await?;
        let stored =
            clickhouse.number(&format!("SELECT count() FROM {copy}")).await.map_err(|e| anyhow!(e))?;
        ensure!(stored == *rows, "{stored} of {rows} rows are in {copy}");
        execute(clickhouse, &format!("DROP TABLE {copy} SYNC")).await?;
        Ok(time)
    }
}

pub async fn execute(clickhouse: &ClickHouse, sql: &str) -> Result<()> {
    clickhouse.text(sql).await.map(drop).map_err(|e| anyhow!(e)).with_context(|| sql.to_owned())
}

async fn export(
    clickhouse: &ClickHouse,
    source: &str,
    rows: u64,
    piece: u64,
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut from = 0;
    while from < rows {
        let to = from + piece;
        let select = format!(
            "SELECT * FROM {source} ORDER BY stream_seq, event_id LIMIT {piece} OFFSET {from} FORMAT Native \
             SETTINGS max_block_size = {piece}, max_threads = 1"
        );
        let answer = client().post(clickhouse.url()).body(select).send().await?.error_for_status()?;
        let file = folder.join(format!("{from}.native"));
        std::fs::write(&file, answer.bytes().await?)?;
        files.push(file);
        from = to;
    }
    Ok(files)
}

async fn insert(clickhouse: &ClickHouse, table: &str, files: &[PathBuf]) -> Result<Duration> {
    let statement = format!("INSERT INTO {table} FORMAT Native");
    let url = reqwest::Url::parse_with_params(&clickhouse.url(), [("query", statement.as_str())])?;
    let client = client();
    let started = Instant::now();
    for file in files {
        let answer = client.post(url.clone()).body(std::fs::read(file)?).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "the engine refused rows in Native format: {status}: {text}");
    }
    Ok(started.elapsed())
}
