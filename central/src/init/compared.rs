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

/// Fingerprints in a comment. Centrals of several versions, as during an upgrade, each keep their own.
const NOTED: usize = 4;

/// Fingerprint of a database's tables.
#[derive(Debug, PartialEq, Eq)]
pub struct Compared {
    fingerprint: String,
    /// Comment of the tables' records.
    comment: String,
    has_all_tables: bool,
}

#[derive(Debug, Row, Deserialize)]
struct Definition {
    name: String,
    hash: u64,
    comment: String,
}

impl Compared {
    /// `version`: of the server, which decides the spelling.
    pub async fn read(storage: &Storage, layout: &Layout<'_>, version: &str) -> Result<Self, StorageError> {
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
        let has_all_tables = tables.iter().all(|table| found.contains_key(table));
        let comment = found.get(RECORDS).map(|records| records.comment.clone()).unwrap_or_default();
        Self { fingerprint: format!("{:032x}", hash.digest128()), comment, has_all_tables }
    }

    /// The tables were compared in this state and did not differ.
    pub fn is_noted(&self) -> bool {
        self.has_all_tables && fingerprints(&self.comment).any(|noted| noted == self.fingerprint)
    }

    /// On this server alone, on a cluster too: a comment is not replicated, and a replica that is away must not hold up a start.
    pub async fn note(&self, storage: &Storage, database: &str) -> Result<(), StorageError> {
        let comment = self.with_fingerprint();
        execute(storage, &format!("ALTER TABLE {database}.{RECORDS} MODIFY COMMENT '{comment}'")).await
    }

    /// The newest first. A comment of another form is replaced.
    fn with_fingerprint(&self) -> String {
        let earlier = fingerprints(&self.comment).filter(|noted| *noted != self.fingerprint);
        let all: Vec<&str> = std::iter::once(self.fingerprint.as_str()).chain(earlier).take(NOTED).collect();
        format!("{COMMENT}{}", all.join(" "))
    }
}

fn fingerprints(comment: &str) -> impl Iterator<Item = &str> {
    let listed = comment.strip_prefix(COMMENT).unwrap_or_default().split(' ');
    listed.filter(|noted| !noted.is_empty() && noted.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each start of one would create all tables once more to compare them, and replace what the other one noted.
    #[test]
    fn centrals_of_two_versions_keep_the_fingerprint_of_each() {
        let of = |comment: &str, number: u32| Compared {
            fingerprint: format!("{number:032x}"),
            comment: comment.to_owned(),
            has_all_tables: true,
        };
        let noted_by = |comment: &str, number| of(comment, number).with_fingerprint();
        let is_noted = |comment: &str, number| of(comment, number).is_noted();
        let both = noted_by(&noted_by("", 1), 2);
        assert!(is_noted(&both, 1) && is_noted(&both, 2));
        assert_eq!(noted_by(&both, 2), both);
        assert_eq!(noted_by("it's a comment of somebody", 1), noted_by("", 1));
        let many = (3..6).fold(both, |comment, number| noted_by(&comment, number));
        assert_eq!([1, 2, 3, 4, 5].map(|number| is_noted(&many, number)), [false, true, true, true, true]);
    }
}
