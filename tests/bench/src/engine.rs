//! The engine's limit: rows of hot in Native format into a table like theirs, one HTTP insert after the other, with central's settings and tokens.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use marketprism_tests::clickhouse::{ClickHouse, client};
use reqwest::Url;

/// Settings of central's inserts that change what the engine does.
const SETTINGS: [(&str, &str); 5] = [
    ("insert_deduplicate", "1"),
    ("async_insert", "0"),
    ("optimize_on_insert", "0"),
    ("wait_end_of_query", "1"),
    ("max_partitions_per_insert_block", "0"),
];

/// Rows of some messages of a stream, in their order.
pub struct Blocks {
    blocks: Vec<Block>,
}

struct Block {
    /// No two inserts into a table have the same.
    token: String,
    rows: Vec<u8>,
}

impl Blocks {
    /// Rows of the messages after `messages.start`, `piece` messages in a block.
    pub async fn export(
        clickhouse: &ClickHouse,
        source: &str,
        messages: Range<u64>,
        piece: u64,
    ) -> Result<Self> {
        let (mut blocks, mut from) = (Vec::new(), messages.start);
        while from < messages.end {
            let to = messages.end.min(from + piece.max(1));
            let select = format!(
                "SELECT * FROM {source} WHERE stream_seq > {from} AND stream_seq <= {to} ORDER BY stream_seq, timestamp FORMAT Native \
                 SETTINGS max_block_size = 1000000, preferred_block_size_bytes = 0, max_threads = 1"
            );
            let answer = client().post(clickhouse.url()).body(select).send().await?.error_for_status()?;
            blocks.push(Block { token: format!("{source}:{from}-{to}"), rows: answer.bytes().await?.into() });
            from = to;
        }
        Ok(Self { blocks })
    }
}

/// A table with the columns, codecs and settings of another one.
pub struct TableLike {
    name: String,
    keeps_rows: bool,
}

impl TableLike {
    /// `keeps_rows`: from turn to turn.
    pub async fn create(clickhouse: &ClickHouse, source: &str, keeps_rows: bool) -> Result<Self> {
        let name = format!("{source}_alone");
        execute(clickhouse, &format!("CREATE TABLE {name} AS {source}")).await?;
        Ok(Self { name, keeps_rows })
    }

    /// `count`: of the rows, each of which must be stored.
    pub async fn insert(&self, clickhouse: &ClickHouse, rows: &Blocks, count: u64) -> Result<Duration> {
        let statement = format!("INSERT INTO {} FORMAT Native", self.name);
        let url =
            Url::parse_with_params(&clickhouse.url(), SETTINGS.iter().chain(&[("query", &*statement)]))?;
        let client = client();
        let before = self.count(clickhouse).await?;
        let started = Instant::now();
        for Block { token, rows } in &rows.blocks {
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("insert_deduplication_token", token);
            let answer = client.post(url).body(rows.clone()).send().await?;
            let status = answer.status();
            let text = answer.text().await?;
            ensure!(status.is_success(), "the engine refused rows in Native format: {status}: {text}");
        }
        let time = started.elapsed();
        let stored = self.count(clickhouse).await? - before;
        ensure!(stored == count, "{stored} of {count} rows are in {}", self.name);
        Ok(time)
    }

    async fn count(&self, clickhouse: &ClickHouse) -> Result<u64> {
        clickhouse.number(&format!("SELECT count() FROM {}", self.name)).await.map_err(|e| anyhow!(e))
    }

    pub async fn end_turn(&self, clickhouse: &ClickHouse) -> Result<()> {
        if self.keeps_rows {
            return Ok(());
        }
        execute(clickhouse, &format!("TRUNCATE TABLE {}", self.name)).await
    }
}

pub async fn execute(clickhouse: &ClickHouse, sql: &str) -> Result<()> {
    clickhouse.text(sql).await.map(drop).map_err(|e| anyhow!(e)).with_context(|| sql.to_owned())
}

/// Waits until the query returns `wanted` or more, with a pause after each look, which costs the engine about 2 ms.
pub async fn reaches(
    clickhouse: &ClickHouse,
    query: &str,
    wanted: u64,
    (pause, limit): (Duration, Duration),
) -> Result<()> {
    let started = Instant::now();
    loop {
        let found = clickhouse.number(query).await.map_err(|e| anyhow!(e))?;
        if found >= wanted {
            return Ok(());
        }
        ensure!(started.elapsed() < limit, "only {found} of {wanted} within {limit:?}: {query}");
        tokio::time::sleep(pause).await;
    }
}

/// Creates a table like `like` with the rows of `source`, in one wide part a partition: sizes of columns are known of wide parts only, which
/// every larger one is.
pub async fn wide_copy(clickhouse: &ClickHouse, copy: &str, like: &str, source: &str) -> Result<()> {
    execute(clickhouse, &format!("CREATE TABLE {copy} AS {like}")).await?;
    let wide = "min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0";
    execute(clickhouse, &format!("ALTER TABLE {copy} MODIFY SETTING {wide}")).await?;
    execute(clickhouse, &format!("INSERT INTO {copy} SELECT * FROM {source}")).await?;
    execute(clickhouse, &format!("OPTIMIZE TABLE {copy} FINAL")).await
}
