//! Tables as the server describes them: columns, indices and the clauses of `engine_full`.

use std::collections::BTreeMap;

use clickhouse::{RowOwned, RowRead};
use serde::Deserialize;

use super::Difference;
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

#[derive(Debug, Clone, Default)]
pub struct Shapes(BTreeMap<String, Shape>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    columns: Vec<ColumnShape>,
    indices: Vec<IndexShape>,
    engine: EngineShape,
}

#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Deserialize)]
struct ColumnShape {
    table: String,
    name: String,
    kind: String,
    codec: String,
    default: String,
}

#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Deserialize)]
struct IndexShape {
    table: String,
    name: String,
    definition: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, clickhouse::Row, Deserialize)]
struct EngineShape {
    name: String,
    engine_full: String,
    partition_key: String,
    sorting_key: String,
}

async fn rows<T: RowOwned + RowRead>(
    storage: &Storage,
    sql: &str,
    database: &str,
) -> Result<Vec<T>, StorageError> {
    bounded(limits::QUERY_TIMEOUT, storage.client.query(sql).bind(database).fetch_all()).await
}

impl Shapes {
    /// Reads every table of a database; empty when it does not exist.
    pub async fn of(storage: &Storage, database: &str) -> Result<Self, StorageError> {
        let engines =
            "SELECT name, engine_full, partition_key, sorting_key FROM system.tables WHERE database = ?";
        let columns = "SELECT table, name, type AS kind, compression_codec AS codec, concat(default_kind, \
                       default_expression) AS default FROM system.columns WHERE database = ? ORDER BY table, position";
        // The server shows several columns without the brackets that a statement needs.
        let indices = "SELECT table, name, concat('(', expr, ') TYPE ', type_full, ' GRANULARITY ', toString(granularity)) AS \
                       definition FROM system.data_skipping_indices WHERE database = ? ORDER BY table, name";
        let (engines, columns, indices) = tokio::try_join!(
            rows::<EngineShape>(storage, engines, database),
            rows::<ColumnShape>(storage, columns, database),
            rows::<IndexShape>(storage, indices, database),
        )?;
        let mut shapes = Self::default();
        for engine in engines {
            shapes.0.insert(engine.name.clone(), Shape { engine, ..Shape::default() });
        }
        for column in columns {
            if let Some(shape) = shapes.0.get_mut(&column.table) {
                shape.columns.push(column);
            }
        }
        for index in indices {
            if let Some(shape) = shapes.0.get_mut(&index.table) {
                shape.indices.push(index);
            }
        }
        Ok(shapes)
    }

    pub fn get(&self, table: &str) -> Option<&Shape> {
        self.0.get(table)
    }
}

impl Shape {
    /// Differences of `found`. Additional columns and indices are fine, because rows are written by column name. With
    /// `replicated` a table on a single server differs.
    pub fn differences(&self, found: &Self, replicated: bool) -> Vec<Difference> {
        let mut differences = self.column_differences(found);
        let (wanted, there) =
            (EngineClauses::read(&self.engine.engine_full), EngineClauses::read(&found.engine.engine_full));
        differences.extend(Difference::between("engine", &wanted.name, &there.name, false));
        if replicated {
            differences.extend(Difference::between("replicated", true, there.replicated, false));
        }
        let keys = [
            (PARTITION_KEY, &self.engine.partition_key, &found.engine.partition_key),
            ("sorting_key", &self.engine.sorting_key, &found.engine.sorting_key),
        ];
        differences.extend(keys.into_iter().filter_map(|(n, w, f)| Difference::between(n, w, f, false)));
        differences.extend(self.index_differences(found));
        differences.extend(Difference::between(TTL, wanted.ttl, there.ttl, true));
        differences.extend(wanted.settings_for(&there).filter_map(|(name, value)| {
            let found = there.settings.get(name).copied().unwrap_or("the server's default");
            Difference::between(&format!("setting {name}"), value, found, true)
        }));
        differences
    }

    /// Differences between hot and cold except TTL, partition key and codecs, including columns that only one of them has.
    pub fn differences_of_copy(&self, copy: &Self) -> Vec<Difference> {
        let mut differences = self.differences(copy, false);
        let is_own = |setting: &str| [TTL, PARTITION_KEY].contains(&setting) || setting.starts_with(CODEC);
        differences.retain(|difference| !is_own(&difference.setting));
        let more = copy.columns.iter().filter(|column| self.columns.iter().all(|c| c.name != column.name));
        differences.extend(more.filter_map(|column| {
            Difference::between(&format!("column {}", column.name), "none", &column.kind, false)
        }));
        differences
    }

    fn column_differences(&self, found: &Self) -> Vec<Difference> {
        let there: BTreeMap<&str, &ColumnShape> =
            found.columns.iter().map(|c| (c.name.as_str(), c)).collect();
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
                (format!("{CODEC}{name}"), &column.codec, &other.codec, true),
            ];
            differences.extend(sort_of.iter().filter_map(|(n, w, f, c)| Difference::between(n, w, f, *c)));
        }
        differences
    }

    fn index_differences(&self, found: &Self) -> impl Iterator<Item = Difference> {
        self.indices.iter().filter_map(|index| {
            let other = found.indices.iter().find(|other| other.name == index.name);
            let definition = other.map_or("none", |other| other.definition.as_str());
            Difference::between(&format!("index {}", index.name), &index.definition, definition, true)
        })
    }
}

pub const TTL: &str = "ttl";
/// TTL of a table without one.
pub const NO_TTL: &str = "none";
const PARTITION_KEY: &str = "partition_key";
/// Followed by the name of a column.
const CODEC: &str = "codec ";

/// Names of one setting of a table: on a single server and of a replicated one.
const DEDUPLICATION: [&str; 2] = ["non_replicated_deduplication_window", "replicated_deduplication_window"];
const REPLICATED: [&str; 2] = ["Replicated", "Shared"];

#[derive(Debug)]
pub struct EngineClauses<'a> {
    pub name: String,
    pub replicated: bool,
    pub ttl: &'a str,
    pub settings: BTreeMap<&'a str, &'a str>,
}

impl<'a> EngineClauses<'a> {
    pub fn read(full: &'a str) -> Self {
        let (rest, settings) = full.rsplit_once(" SETTINGS ").unwrap_or((full, ""));
        let (rest, ttl) = rest.split_once(" TTL ").unwrap_or((rest, NO_TTL));
        let engine = [" PARTITION BY ", " ORDER BY ", " PRIMARY KEY "]
            .iter()
            .filter_map(|clause| rest.find(clause))
            .min()
            .and_then(|end| rest.get(..end))
            .unwrap_or(rest);
        let settings = settings.split(", ").filter_map(|setting| setting.split_once(" = ")).collect();
        let one_server = REPLICATED.iter().find_map(|prefix| engine.strip_prefix(prefix));
        let name = one_server.map_or_else(|| engine.to_owned(), without_path);
        Self { name, replicated: one_server.is_some(), ttl, settings }
    }

    /// The settings as a found table of either form would have them.
    pub fn settings_for(&self, found: &Self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let [single, replicated] = DEDUPLICATION;
        let renamed = found.replicated && !self.replicated;
        self.settings.iter().map(move |(name, value)| match *name {
            name if renamed && name == single => (replicated, *value),
            name => (name, *value),
        })
    }
}

/// `X('/path', '{replica}', version)` as `X(version)`: drops the Keeper path and replica name.
fn without_path(engine: &str) -> String {
    let Some((name, arguments)) = engine.split_once('(') else { return engine.to_owned() };
    let mut rest = arguments;
    while let Some((_, more)) = rest.strip_prefix('\'').and_then(|text| text.split_once('\'')) {
        rest = more.strip_prefix(", ").unwrap_or(more);
    }
    format!("{name}({rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(engine_full: &str, price: &str) -> Shape {
        let text = str::to_owned;
        let column = |name: &str, kind: &str| ColumnShape {
            table: text("t"),
            name: text(name),
            kind: text(kind),
            codec: text("CODEC(ZSTD(1))"),
            default: String::new(),
        };
        let engine = EngineShape {
            name: text("t"),
            engine_full: text(engine_full),
            partition_key: text("toYYYYMMDD(timestamp)"),
            sorting_key: text("a, b"),
        };
        let columns = vec![column("timestamp", "DateTime64(6, 'UTC')"), column("price", price)];
        let index =
            IndexShape { table: text("t"), name: text("range"), definition: text("price TYPE minmax") };
        Shape { columns, indices: vec![index], engine }
    }

    const FULL: &str = "ReplacingMergeTree(created_at) PARTITION BY toYYYYMM(timestamp) ORDER BY (a, b) \
                        TTL toDateTime(timestamp) + toIntervalDay(3) SETTINGS window = 10, index_granularity = 8192";

    fn named(differences: &[Difference]) -> Vec<(&str, bool)> {
        differences.iter().map(|d| (d.setting.as_str(), d.changeable)).collect()
    }

    #[test]
    fn changed_types_are_immutable_and_changed_settings_changeable() {
        let wanted = shape(FULL, "Decimal(38, 18)");
        assert_eq!(wanted.differences(&wanted, false), vec![]);

        let other = FULL.replace("Day(3)", "Day(9)").replace("window = 10, ", "extra = 1, ");
        let mut found = shape(&other, "Float64");
        found.indices.clear();
        let differences = wanted.differences(&found, false);
        assert_eq!(
            named(&differences),
            vec![("column price", false), ("index range", true), ("ttl", true), ("setting window", true)]
        );
        assert_eq!(differences[2].found, "toDateTime(timestamp) + toIntervalDay(9)");
    }

    #[test]
    fn hot_and_cold_may_differ_only_in_ttl_partition_key_and_codecs() {
        let hot = shape(FULL, "Decimal(38, 18)");
        let mut cold = shape(&FULL.replace("Day(3)", "Day(3650)"), "Decimal(38, 18)");
        cold.engine.partition_key = "toYYYYMM(timestamp)".to_owned();
        cold.columns[1].codec = "CODEC(GCD, ZSTD(9))".to_owned();
        assert_eq!(hot.differences_of_copy(&cold), vec![]);
        let all = [("codec price", true), ("partition_key", false), ("ttl", true)];
        assert_eq!(named(&hot.differences(&cold, false)), all);
        let more = ColumnShape { name: "note".to_owned(), ..cold.columns[0].clone() };
        cold.columns.push(more);
        assert_eq!(named(&hot.differences_of_copy(&cold)), vec![("column note", false)]);
    }

    #[test]
    fn a_replicated_table_equals_its_single_server_form() {
        let full = FULL.replace("window", "non_replicated_deduplication_window");
        let wanted = shape(&full, "String");
        let replicated = full
            .replace("Tree(", "Tree('/clickhouse/tables/{shard}/db/t', '{replica}', ")
            .replace("Replacing", "ReplicatedReplacing")
            .replace("non_replicated_", "replicated_");
        assert_eq!(wanted.differences(&shape(&replicated, "String"), true), vec![]);
        assert_eq!(named(&wanted.differences(&wanted, true)), vec![("replicated", false)]);
        let fewer = replicated.replace("window = 10", "window = 5");
        let differences = wanted.differences(&shape(&fewer, "String"), true);
        assert_eq!(named(&differences), vec![("setting replicated_deduplication_window", true)]);
    }

    #[test]
    fn replicated_engines_compare_equal_to_single_server_ones() {
        let name = |full| EngineClauses::read(full).name;
        assert_eq!(name("ReplacingMergeTree(created_at) ORDER BY a"), "ReplacingMergeTree(created_at)");
        for full in [
            "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/db/t', '{replica}', created_at) ORDER BY a",
            "SharedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', created_at) ORDER BY a",
            "ReplicatedReplacingMergeTree(created_at) PARTITION BY b ORDER BY a",
        ] {
            assert_eq!(name(full), "ReplacingMergeTree(created_at)", "{full}");
            assert!(EngineClauses::read(full).replicated);
        }
        assert_eq!(name("ReplicatedMergeTree('/path', '{replica}') ORDER BY a"), "MergeTree()");
    }
}
