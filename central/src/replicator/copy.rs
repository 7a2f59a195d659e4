//! Copies the rows of a window, or part of it, from one side to the other with one insert.
//!
//! The deduplication token names the state of the target before the insert. Of two copies that start from the same state only
//! one is stored: a retry after a lost answer, or an insert that a previous lease holder still has running, changes nothing.
//! This requires all rows in one block, which is stored as a whole or not at all. The server makes a token of each block that it reads,
//! so the source must give one block as well, whatever parts it holds: it sorts the rows in one thread.

use super::queries::{CopyError, Endpoint, HotCold, TableSpec};
use super::window::TimeRange;
use crate::config::{Config, Method, Server};
use crate::copy_marks;
use crate::sql::quote;
use crate::storage::{InsertSettings, StorageError, bounded, limited, log_without_view, without_views};

/// Prefix of staging tables. A new lease holder drops those of its predecessor.
pub const STAGE_PREFIX: &str = "replica_stage_";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToCold,
    ToHot,
}

#[derive(Debug, Clone)]
pub struct CopyPiece {
    pub span: TimeRange,
    /// The whole window or windows around it: the part of the target that is checked for events it already holds.
    pub window: TimeRange,
    /// The target holds rows of the window, so its events are left out.
    pub is_begun: bool,
    pub token: String,
}

#[derive(Clone)]
pub struct Copier<'a> {
    pair: &'a HotCold,
    table: &'a TableSpec,
    method: Method,
    direction: Direction,
    hot: &'a Server,
    /// Prefix of the id of every query, to find leftovers.
    query_prefix: String,
    /// A materialized view on the target that cannot take the rows does not hold them up.
    ignores_views: bool,
}

impl<'a> Copier<'a> {
    /// A copier by the configured method. Back to hot there is no native address, so central streams.
    pub fn new(pair: &'a HotCold, table: &'a TableSpec, config: &'a Config, direction: Direction) -> Self {
        let method = match &config.replication.method {
            Method::Remote(_) if direction == Direction::ToHot => Method::Stream,
            method => method.clone(),
        };
        let query_prefix = query_prefix(&pair.cold.storage.database, Some(table));
        let hot = &config.clickhouse.hot;
        Self { pair, table, method, direction, hot, query_prefix, ignores_views: false }
    }

    const fn sides(&self) -> (&'a Endpoint, &'a Endpoint) {
        match self.direction {
            Direction::ToCold => (&self.pair.hot, &self.pair.cold),
            Direction::ToHot => (&self.pair.cold, &self.pair.hot),
        }
    }

    /// Copies a piece. After an error either all of it or nothing is stored.
    pub async fn copy(&self, piece: &CopyPiece) -> Result<(), CopyError> {
        let copied = match self.try_copy(piece).await {
            Err(error @ StorageError::View { is_passing: false, .. }) => {
                log_without_view(self.table.name, &error);
                Self { ignores_views: true, ..self.clone() }.try_copy(piece).await
            }
            copied => copied,
        };
        copied.map_err(|error| self.sides().1.failed(error))
    }

    async fn try_copy(&self, piece: &CopyPiece) -> Result<(), StorageError> {
        match &self.method {
            Method::SameServer => {
                let source = self.sides().0.table(self.table.name);
                self.select_into(&source, Some(piece.span), piece).await
            }
            Method::Remote(address) => {
                let source = self.remote(address);
                self.select_into(&source, Some(piece.span), piece).await.map_err(|error| self.masked(error))
            }
            Method::Stream if piece.is_begun => self.stream_through_stage(piece).await,
            Method::Stream => self.stream(&self.sides().1.table(self.table.name), piece).await,
        }
    }

    /// The hot table as a table function of the cold server.
    fn remote(&self, address: &str) -> String {
        let password = self.hot.password.as_ref().map_or("", |password| password.reveal());
        format!(
            "remote({}, {}, {}, {}, {})",
            quote(address),
            quote(&self.pair.hot.storage.database),
            quote(self.table.name),
            quote(&self.hot.user),
            quote(password)
        )
    }

    /// Removes the password from an answer that quotes the statement.
    fn masked(&self, error: StorageError) -> StorageError {
        let Some(password) = self.hot.password.as_ref().map(|password| password.reveal()) else {
            return error;
        };
        let hide = |text: String| {
            if password.is_empty() {
                text
            } else {
                text.replace(&quote(password), "'***'").replace(password, "***")
            }
        };
        match error {
            StorageError::Refused { code, text } => StorageError::Refused { code, text: hide(text) },
            StorageError::View { view, text, is_passing } => {
                StorageError::View { view: hide(view), text: hide(text), is_passing }
            }
            StorageError::Unreachable(text) => StorageError::Unreachable(hide(text)),
            other => other,
        }
    }

    async fn select_into(
        &self,
        source: &str,
        span: Option<TimeRange>,
        piece: &CopyPiece,
    ) -> Result<(), StorageError> {
        let target = self.sides().1;
        let (table, columns) = (target.table(self.table.name), &self.table.columns);
        let mut conditions: Vec<String> = span.map(TimeRange::condition).into_iter().collect();
        if piece.is_begun {
            // GLOBAL evaluates the subquery on the target, even if the source is remote.
            let present = format!("SELECT event_id FROM {table} WHERE {}", piece.window.condition());
            conditions.push(format!("event_id GLOBAL NOT IN ({present})"));
        }
        let filter = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
        let sql =
            format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM {source} WHERE {filter} {SORTED}");
        let settings = self.one_block(target.deduplication.once_of_select(&piece.token));
        let query = target.query(&sql);
        let query = settings.into_iter().fold(query, |query, (name, value)| query.with_setting(name, value));
        bounded(target.limit, query.execute()).await
    }

    fn one_block(&self, mut settings: InsertSettings) -> InsertSettings {
        let text = str::to_owned;
        settings.extend([
            ("query_id", format!("{}{:016x}", self.query_prefix, rand::random::<u64>())),
            ("async_insert", text("0")),
            ("wait_end_of_query", text("1")),
            ("max_insert_threads", text("1")),
            ("max_insert_block_size", text("1000000000")),
            ("min_insert_block_size_rows", text("1000000000")),
            ("min_insert_block_size_bytes", text("0")),
            ("max_partitions_per_insert_block", text("0")),
        ]);
        settings.extend(READ_AS_ONE_BLOCK.map(|(name, value)| (name, text(value))));
        if self.ignores_views {
            settings.extend(without_views());
        }
        settings
    }

    /// Streams into a staging table on the target, whose server then takes the missing rows.
    async fn stream_through_stage(&self, piece: &CopyPiece) -> Result<(), StorageError> {
        let target = self.sides().1;
        let name = format!("{STAGE_PREFIX}{}_{:016x}", self.table.name, rand::random::<u64>());
        let stage = target.table(&name);
        let definition = &self.table.definition;
        let run = async |sql: String| bounded(target.limit, target.query(&sql).execute()).await;
        run(format!("CREATE TABLE {stage} ({definition}) ENGINE = MergeTree ORDER BY tuple()")).await?;
        let copied = async {
            self.stream(&stage, piece).await?;
            self.select_into(&stage, None, piece).await
        };
        let copied = copied.await;
        let dropped = run(format!("DROP TABLE IF EXISTS {stage}")).await;
        copied.and(dropped)
    }

    /// Pipes the answer of one server into an insert at the other. Only the connections buffer.
    async fn stream(&self, into: &str, piece: &CopyPiece) -> Result<(), StorageError> {
        let (source, target) = self.sides();
        let columns = &self.table.columns;
        let select = format!(
            "SELECT {columns} FROM {} WHERE {} {SORTED}",
            source.table(self.table.name),
            piece.span.condition()
        );
        let piped = async {
            let query = source.query(&select);
            let query = READ_AS_ONE_BLOCK.into_iter().fold(query, |query, (n, v)| query.with_setting(n, v));
            let mut rows = query.fetch_bytes("Native")?;
            let insert = format!("INSERT INTO {into} ({columns}) FORMAT Native");
            let client = limited(&target.storage.client, target.limit);
            let settings = self.one_block(target.deduplication.once(&piece.token));
            let mut insert = settings
                .into_iter()
                .fold(client.insert_formatted_with(insert), |insert, (n, v)| insert.with_setting(n, v));
            while let Some(bytes) = rows.next().await? {
                insert.send(bytes).await?;
            }
            insert.end().await
        };
        bounded(source.limit.max(target.limit), piped).await
    }
}

/// Prefix of the ids of copy queries: those of one table, or of all.
pub fn query_prefix(cold: &str, table: Option<&TableSpec>) -> String {
    let table = table.map(|table| format!("{}-", table.name)).unwrap_or_default();
    copy_marks::query_prefix(cold) + &table
}

const SORTED: &str = "ORDER BY event_id";
const READ_AS_ONE_BLOCK: [(&str, &str); 3] =
    [("max_threads", "1"), ("max_block_size", "1000000000"), ("optimize_read_in_order", "0")];

/// Kills running copies and drops staging tables of a previous lease holder or, for one table, of an earlier try.
pub async fn clear_leftovers(pair: &HotCold, table: Option<&TableSpec>) -> Result<(), CopyError> {
    let prefix = query_prefix(&pair.cold.storage.database, table);
    let stage =
        table.map_or_else(|| STAGE_PREFIX.to_owned(), |table| format!("{STAGE_PREFIX}{}_", table.name));
    for side in [&pair.cold, &pair.hot] {
        copy_marks::end_copies(&side.storage, &prefix, side.limit)
            .await
            .map_err(|error| side.failed(error))?;
        let stages = format!(
            "SELECT name FROM system.tables WHERE database = '{}' AND startsWith(name, '{stage}')",
            side.storage.database
        );
        let names: Vec<String> = side.ask(side.query(&stages).fetch_all()).await?;
        for name in names {
            side.ask(side.query(&format!("DROP TABLE IF EXISTS {}", side.table(&name))).execute()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use marketprism_tests::clickhouse::ClickHouse;
    use marketprism_tests::parts;

    use super::*;

    const WINDOW: TimeRange = TimeRange::new(0, 60_000);

    fn config(engine: &ClickHouse, method: &str) -> Config {
        let text = format!(
            "[nats]\nurls = [\"nats://127.0.0.1:1\"]\n[clickhouse]\nurl = {:?}\n[replication]\nmethod = {method:?}\n",
            engine.url()
        );
        Config::parse(&text).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_materialized_view_on_the_target_that_cannot_take_the_rows_does_not_hold_them_up() {
        const ROWS: u64 = 1_000;
        if parts::missing().is_some() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let engine = ClickHouse::start(folder.path()).await;
        let table = TableSpec::all().into_iter().find(|table| table.name == "trades").unwrap();
        for method in ["stream", "same_server"] {
            let config = config(&engine, method);
            let pair = HotCold::connect(&config).await.unwrap();
            let run = async |sql: String| pair.hot.ask(pair.hot.query(&sql).execute()).await.unwrap();
            for side in [&pair.hot, &pair.cold] {
                let database = &side.storage.database;
                run(format!("DROP DATABASE IF EXISTS {database} SYNC")).await;
                run(format!("CREATE DATABASE {database}")).await;
                run(format!(
                    "CREATE TABLE {database}.trades ({}) ENGINE = MergeTree ORDER BY event_id \
                     SETTINGS non_replicated_deduplication_window = 100",
                    table.definition
                ))
                .await;
            }
            let (hot, cold) = (pair.hot.table("trades"), pair.cold.table("trades"));
            let view = pair.cold.table("failing");
            run(format!(
                "CREATE MATERIALIZED VIEW {view} ENGINE = MergeTree ORDER BY id AS \
                 SELECT toDecimal32(event_id + 9, 9) AS id FROM {cold}"
            ))
            .await;
            run(format!(
                "INSERT INTO {hot} (event_id, created_at) SELECT number, toDateTime64(1, 3, 'UTC') FROM numbers({ROWS})"
            ))
            .await;
            let piece =
                CopyPiece { span: WINDOW, window: WINDOW, is_begun: false, token: "state".to_owned() };
            Copier::new(&pair, &table, &config, Direction::ToCold).copy(&piece).await.unwrap();
            let count = format!("SELECT count() FROM {cold}");
            let rows = pair.cold.ask(pair.cold.query(&count).fetch_one::<u64>()).await.unwrap();
            assert_eq!(rows, ROWS, "{method}");
        }
    }

    /// A late insert of a previous lease holder: meanwhile the parts of hot were merged, and late rows arrived.
    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_copies_from_one_state_one_is_stored_however_hot_lies() {
        const ROWS: u64 = 200_000;
        if parts::missing().is_some() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let engine = ClickHouse::start(folder.path()).await;
        let table = TableSpec::all().into_iter().find(|table| table.name == "trades").unwrap();
        for (method, is_begun) in
            [("stream", false), ("stream", true), ("same_server", false), ("same_server", true)]
        {
            let config = config(&engine, method);
            let pair = HotCold::connect(&config).await.unwrap();
            let run = async |sql: String| pair.hot.ask(pair.hot.query(&sql).execute()).await.unwrap();
            for side in [&pair.hot, &pair.cold] {
                let database = &side.storage.database;
                run(format!("CREATE DATABASE IF NOT EXISTS {database}")).await;
                run(format!("DROP TABLE IF EXISTS {database}.trades SYNC")).await;
                run(format!(
                    "CREATE TABLE {database}.trades ({}) ENGINE = MergeTree ORDER BY event_id \
                     SETTINGS non_replicated_deduplication_window = 100",
                    table.definition
                ))
                .await;
            }
            let (hot, cold) = (pair.hot.table("trades"), pair.cold.table("trades"));
            let insert = async |into: &str, numbers: &str| {
                run(format!(
                    "INSERT INTO {into} (event_id, created_at) SELECT number, toDateTime64(1, 3, 'UTC') FROM {numbers}"
                ))
                .await;
            };
            for rest in 0..3 {
                insert(&hot, &format!("numbers({ROWS}) WHERE number % 3 = {rest}")).await;
            }
            if is_begun {
                insert(&cold, "numbers(10)").await;
            }
            let piece = CopyPiece { span: WINDOW, window: WINDOW, is_begun, token: "state".to_owned() };
            let copier = Copier::new(&pair, &table, &config, Direction::ToCold);
            copier.copy(&piece).await.unwrap();
            let count = format!("SELECT count() FROM {cold}");
            let count = async || pair.cold.ask(pair.cold.query(&count).fetch_one::<u64>()).await.unwrap();
            assert_eq!(count().await, ROWS, "{method} {is_begun}");
            run(format!("OPTIMIZE TABLE {hot} FINAL")).await;
            insert(&hot, &format!("numbers({ROWS}, 10)")).await;
            copier.copy(&piece).await.unwrap();
            assert_eq!(count().await, ROWS, "{method} {is_begun}: the second copy was stored as well");
        }
    }
}
