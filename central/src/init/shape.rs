//! What a table looks like to the server.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Difference;
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// Columns and engine of one table, in the server's spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    columns: Vec<Column>,
    engine: Engine,
}

#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Deserialize)]
struct Column {
    name: String,
    kind: String,
    codec: String,
    default: String,
}

#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Deserialize)]
struct Engine {
    engine_full: String,
    partition_key: String,
    sorting_key: String,
}

impl Shape {
    /// Asks for a table; nothing when there is none.
    pub async fn of(storage: &Storage, database: &str, table: &str) -> Result<Option<Self>, StorageError> {
        let engine = storage
            .client
            .query(
                "SELECT engine_full, partition_key, sorting_key FROM system.tables WHERE database = ? AND name = ?",
            )
            .bind(database)
            .bind(table)
            .fetch_optional::<Engine>();
        let Some(engine) = bounded(limits::QUERY_TIMEOUT, engine).await? else { return Ok(None) };
        let columns = storage
            .client
            .query(
                "SELECT name, type AS kind, compression_codec AS codec, concat(default_kind, default_expression) AS \
                 default FROM system.columns WHERE database = ? AND table = ? ORDER BY position",
            )
            .bind(database)
            .bind(table)
            .fetch_all::<Column>();
        let columns = bounded(limits::QUERY_TIMEOUT, columns).await?;
        Ok(Some(Self { columns, engine }))
    }

    /// What is different in `found`. Columns that are there beyond the wanted ones are left alone: rows are written by column name.
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        let mut differences = self.column_differences(found);
        let (wanted, there) = (Clauses::read(&self.engine), Clauses::read(&found.engine));
        differences.extend(Difference::between("engine", wanted.engine, there.engine, false));
        let keys = [
            ("partition_key", &self.engine.partition_key, &found.engine.partition_key),
            ("sorting_key", &self.engine.sorting_key, &found.engine.sorting_key),
        ];
        differences.extend(keys.into_iter().filter_map(|(n, w, f)| Difference::between(n, w, f, false)));
        differences.extend(Difference::between("ttl", wanted.ttl, there.ttl, true));
        differences.extend(wanted.settings.iter().filter_map(|(name, value)| {
            let found = there.settings.get(name).copied().unwrap_or("the server's default");
            Difference::between(&format!("setting {name}"), value, found, true)
        }));
        differences
    }

    fn column_differences(&self, found: &Self) -> Vec<Difference> {
        let there: BTreeMap<&str, &Column> = found.columns.iter().map(|c| (c.name.as_str(), c)).collect();
        let mut differences = Vec::new();
        for column in &self.columns {
            let name = &column.name;
            let Some(other) = there.get(name.as_str()) else {
                differences.extend(Difference::between(
                    &format!("column {name}"),
                    &column.kind,
                    "none",
                    false,
                ));
                continue;
            };
            let sort_of = [
                (format!("column {name}"), &column.kind, &other.kind, false),
                (format!("default {name}"), &column.default, &other.default, false),
                (format!("codec {name}"), &column.codec, &other.codec, true),
            ];
            differences.extend(sort_of.iter().filter_map(|(n, w, f, c)| Difference::between(n, w, f, *c)));
        }
        differences
    }
}

/// The clauses of `engine_full`: `ReplacingMergeTree(created_at) PARTITION BY ... ORDER BY ... TTL ... SETTINGS ...`.
struct Clauses<'a> {
    engine: &'a str,
    ttl: &'a str,
    settings: BTreeMap<&'a str, &'a str>,
}

impl<'a> Clauses<'a> {
    fn read(engine: &'a Engine) -> Self {
        let full = engine.engine_full.as_str();
        let (rest, settings) = full.rsplit_once(" SETTINGS ").unwrap_or((full, ""));
        let (rest, ttl) = rest.split_once(" TTL ").unwrap_or((rest, "none"));
        let name = [" PARTITION BY ", " ORDER BY ", " PRIMARY KEY "]
            .iter()
            .filter_map(|clause| rest.find(clause))
            .min()
            .and_then(|end| rest.get(..end))
            .unwrap_or(rest);
        let settings = settings.split(", ").filter_map(|setting| setting.split_once(" = ")).collect();
        Self { engine: name, ttl, settings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(engine_full: &str, price: &str) -> Shape {
        let text = str::to_owned;
        let column = |name: &str, kind: &str| Column {
            name: text(name),
            kind: text(kind),
            codec: text("CODEC(ZSTD(1))"),
            default: String::new(),
        };
        let engine = Engine {
            engine_full: text(engine_full),
            partition_key: text("toYYYYMM(timestamp)"),
            sorting_key: text("a, b"),
        };
        Shape { columns: vec![column("timestamp", "DateTime64(6, 'UTC')"), column("price", price)], engine }
    }

    /// Goal: a changed type is immutable, a changed TTL and a lost setting are changeable, an additional setting does not matter.
    #[test]
    fn differences_of_tables_are_told_apart() {
        let full = "ReplacingMergeTree(created_at) PARTITION BY toYYYYMM(timestamp) ORDER BY (a, b) \
                    TTL toDateTime(timestamp) + toIntervalDay(3) SETTINGS window = 10, index_granularity = 8192";
        let wanted = shape(full, "Decimal(38, 18)");
        assert_eq!(wanted.differences(&wanted), vec![]);

        let other = full.replace("Day(3)", "Day(9)").replace("window = 10, ", "extra = 1, ");
        let found = shape(&other, "Float64");
        let differences = wanted.differences(&found);
        let named: Vec<_> = differences.iter().map(|d| (d.setting.as_str(), d.changeable)).collect();
        assert_eq!(named, vec![("column price", false), ("ttl", true), ("setting window", true)]);
        assert_eq!(differences[1].found, "toDateTime(timestamp) + toIntervalDay(9)");
    }
}
