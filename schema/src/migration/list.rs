//! Every migration.

use xxhash_rust::xxh3::Xxh3;

use super::source::{self, Statement};
use super::{DatabaseKind, Layout};

/// One step of the tables' history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its place in the order, without holes.
    pub version: u32,
    /// Short description.
    pub name: &'static str,
    source: &'static str,
}

impl Migration {
    /// Every step, in the order in which they are applied.
    pub const ALL: [Self; 5] = [
        Self {
            version: 0,
            name: "schema_migrations",
            source: include_str!("../../sql/0000_schema_migrations.sql"),
        },
        Self { version: 1, name: "events", source: include_str!("../../sql/0001_events.sql") },
        Self { version: 2, name: "time_indices", source: include_str!("../../sql/0002_time_indices.sql") },
        Self { version: 3, name: "ledger", source: include_str!("../../sql/0003_ledger.sql") },
        Self { version: 4, name: "feed_audits", source: include_str!("../../sql/0004_feed_audits.sql") },
    ];

    /// The version of a database that has everything.
    pub const fn newest() -> u32 {
        let [.., last] = Self::ALL;
        last.version
    }

    /// Its statements for one database. Each may be run again after a crash.
    pub fn statements(&self, layout: &Layout<'_>) -> Vec<Statement> {
        source::statements(self.source, layout)
    }

    /// XXH3-128 of the file as 32 hex digits, comments and empty lines left out. The same for every database and configuration.
    pub fn checksum(&self) -> String {
        let mut hash = Xxh3::new();
        for line in source::lines(self.source) {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
        format!("{:032x}", hash.digest128())
    }

    /// Names of the tables of a database, in the order in which they are made.
    pub fn tables(kind: DatabaseKind) -> Vec<String> {
        let layout = Layout { kind, database: "", ttl_days: 1, ledger_ttl_days: 1, cluster: None };
        let mut names: Vec<String> = Vec::new();
        for statement in Self::ALL.iter().flat_map(|migration| migration.statements(&layout)) {
            if !names.contains(&statement.table) {
                names.push(statement.table);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;

    #[test]
    fn released_migrations_are_unchanged() {
        let released = [
            "822d4c4055714bab910164815951a830",
            "ffb2b821dc49e854142fa319a8c61229",
            "5779285ad4e50b673b6aab175f0e59a4",
            "0621062786bf8e65214bdbc08c339802",
            "0dec961702f8f7370398f6f91d0c1682",
        ];
        let checksums: Vec<String> = Migration::ALL.iter().map(Migration::checksum).collect();
        assert_eq!(checksums, released);
    }

    #[test]
    fn every_statement_is_filled() {
        let macros = ["{shard}", "{replica}", "/{database}/{table}'", "'{cluster}'"];
        for (place, migration) in (0..).zip(Migration::ALL) {
            assert_eq!(migration.version, place, "{}", migration.name);
            for (kind, cluster) in
                DatabaseKind::ALL.into_iter().flat_map(|kind| [(kind, None), (kind, Some("{cluster}"))])
            {
                let layout = Layout { kind, database: "db", ttl_days: 3, ledger_ttl_days: 35, cluster };
                for statement in migration.statements(&layout) {
                    let on_cluster = layout.on_cluster();
                    let named = format!("db.{}{on_cluster}\n", statement.table);
                    assert!(statement.sql.contains(&named), "{}", statement.sql);
                    let rest = macros.iter().fold(statement.sql.clone(), |sql, name| sql.replace(name, ""));
                    assert!(!rest.contains(['{', '}']) && !rest.contains("--"), "{rest}");
                    assert_eq!(rest.contains("Replicated"), cluster.is_some() && rest.contains("ENGINE"));
                }
            }
        }
    }

    #[test]
    fn tables_are_in_their_databases() {
        let events = Table::ALL.map(|table| table.name);
        let named = |first: &[&str], more: &[&str]| -> Vec<String> {
            ["schema_migrations"].iter().chain(first).chain(more).map(|&name| name.to_owned()).collect()
        };
        let hot = named(&events, &["dead_letters", "copies", "audits", "verdicts", "losses", "feed_audits"]);
        assert_eq!(Migration::tables(DatabaseKind::Hot), hot);
        assert_eq!(Migration::tables(DatabaseKind::Cold), named(&events, &["window_log", "watermarks"]));
    }
}
