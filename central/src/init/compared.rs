//! Tables that were found as wanted are recognized by a fingerprint in the comment of the table of migrations: what the server shows of them,
//! its version and the statements that make them. So the scratch database, some sixty statements, is only created when one of these changed.

use marketprism_schema::{Layout, Migration};
use xxhash_rust::xxh3::Xxh3;

use super::migrations::{RECORDS, execute};
use super::shape::Shapes;
use crate::storage::{Storage, StorageError};

const COMMENT: &str = "as wanted: tables ";

/// Comment of a database whose tables are as wanted.
#[derive(Debug, PartialEq, Eq)]
pub struct Compared(String);

impl Compared {
    /// `version`: of the server, which decides the spelling.
    pub fn of(version: &str, layout: &Layout<'_>, found: &Shapes) -> Self {
        let mut hash = Xxh3::new();
        let mut add = |text: &str| {
            hash.update(&text.len().to_le_bytes());
            hash.update(text.as_bytes());
        };
        add(version);
        for statement in Migration::ALL.iter().flat_map(|migration| migration.statements(layout)) {
            add(&statement.sql);
        }
        for table in Migration::tables(layout.kind) {
            add(&table);
            found.get(&table).into_iter().for_each(|shape| shape.texts().for_each(&mut add));
        }
        Self(format!("{COMMENT}{:032x}", hash.digest128()))
    }

    /// The tables were compared in this state and did not differ.
    pub fn is_noted(&self, found: &Shapes) -> bool {
        found.get(RECORDS).is_some_and(|shape| shape.comment() == self.0)
    }

    /// On this server alone, on a cluster too: a comment is not replicated, and a replica that is away must not hold up a start.
    pub async fn note(&self, storage: &Storage, database: &str) -> Result<(), StorageError> {
        execute(storage, &format!("ALTER TABLE {database}.{RECORDS} MODIFY COMMENT '{}'", self.0)).await
    }
}
