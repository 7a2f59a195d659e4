//! Tables that were found as wanted are recognized by a fingerprint in the comment of the table of migrations: their definitions on the server, its
//! version and the statements that make them. One query reads it: their columns, and the scratch database of some sixty statements, are only asked
//! for when one of these changed.

use std::collections::HashMap;

use clickhouse::Row;
use marketprism_schema::{Layout, Migration};
use serde::Deserialize;
use xxhash_rust::xxh3::Xxh3;

use super::migrations::{RECORDS, execute};
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

const COMMENT: &str = "as wanted: tables ";

/// Fingerprint of a database's tables.
#[derive(Debug, PartialEq, Eq)]
pub struct Compared {
    comment: String,
    is_noted: bool,
}

#[derive(Debug, Row, Deserialize)]
struct Definition {
    name: String,
    hash: u64,
    comment: String,
}

impl Compared {
    /// `version`: of the server, which decides the spelling.
    pub async fn read(
        storage: &Storage,
        layout: &Layout<'_>,
        version: &str,
    ) -> Result<Self, StorageError> {
        // Without the comment, which is behind the engine.
        let sql = "SELECT name, sipHash64(splitByString(' ENGINE = ', create_table_query)[1], engine_full) AS hash, comment \
                   FROM system.tables WHERE database = ? AND create_table_query != ''";
        let asked = storage.client.query(sql).bind(layout.database).fetch_all::<Definition>();
        Ok(Self::of(version, layout, bounded(limits::QUERY_TIMEOUT, asked).await?))
    }

    fn of(version: &str, layout: &Layout<'_>, found: Vec<Definition>) -> Self {
        let found: HashMap<String, Definition> =
            found.into_iter().map(|table| (table.name.clone(), table)).collect();
        let mut hash = Xxh3::new();
        let mut add = |bytes: &[u8]| {
            hash.update(&bytes.len().to_le_bytes());
            hash.update(bytes);
        };
        add(version.as_bytes());
        for statement in Migration::ALL.iter().flat_map(|migration| migration.statements(layout)) {
            add(statement.sql.as_bytes());
        }
        let tables = Migration::tables(layout.kind);
        for table in &tables {
            add(table.as_bytes());
            if let Some(table) = found.get(table) {
                add(&table.hash.to_le_bytes());
            }
        }
        let comment = format!("{COMMENT}{:032x}", hash.digest128());
        let is_noted = tables.iter().all(|table| found.contains_key(table))
            && found.get(RECORDS).is_some_and(|records| records.comment == comment);
        Self { comment, is_noted }
    }

    /// The tables were compared in this state and did not differ.
    pub const fn is_noted(&self) -> bool {
        self.is_noted
    }

    /// On this server alone, on a cluster too: a comment is not replicated, and a replica that is away must not hold up a start.
    pub async fn note(&self, storage: &Storage, database: &str) -> Result<(), StorageError> {
        execute(storage, &format!("ALTER TABLE {database}.{RECORDS} MODIFY COMMENT '{}'", self.comment)).await
    }
}
