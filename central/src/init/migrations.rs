//! Migrates a database to the newest version, each step once and in order.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use marketprism_schema::{Layout, Migration};
use serde::Deserialize;

use super::ObjectResult;
use crate::lease::{Lease, Leases};
use crate::limits;
use crate::storage::{Storage, StorageError, bounded, limited};

const LEASE: &str = "migrations";
pub const RECORDS: &str = "schema_migrations";

pub type MigrationRecords = BTreeMap<u32, MigrationRecord>;

#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Deserialize)]
pub struct MigrationRecord {
    version: u32,
    name: String,
    checksum: String,
}

/// Applied migrations; empty for a new database.
pub async fn records(storage: &Storage, database: &str) -> Result<MigrationRecords, StorageError> {
    let sql = "SELECT count() FROM system.tables WHERE database = ? AND name = ?";
    let there = storage.client.query(sql).bind(database).bind(RECORDS).fetch_one::<u64>();
    if bounded(limits::QUERY_TIMEOUT, there).await? == 0 {
        return Ok(MigrationRecords::new());
    }
    let sql = format!(
        "SELECT version, argMax(name, applied_at) AS name, argMax(checksum, applied_at) AS checksum FROM \
         {database}.{RECORDS} GROUP BY version"
    );
    let records = storage.client.query_raw(&sql).fetch_all::<MigrationRecord>();
    let records = bounded(limits::QUERY_TIMEOUT, records).await?;
    Ok(records.into_iter().map(|record| (record.version, record)).collect())
}

/// Reason not to touch this database: a migration that this program does not know, or knows with another checksum.
pub fn refusal(records: &MigrationRecords) -> Option<String> {
    let newest = Migration::newest();
    if let Some((version, record)) = records.last_key_value().filter(|(version, _)| **version > newest) {
        return Some(format!(
            "was brought to version {version} ({}) by a newer marketprism-central, this one knows up to {newest}; run \
             the newer one",
            record.name
        ));
    }
    Migration::ALL.iter().find_map(|migration| {
        let record = records.get(&migration.version)?;
        let wanted = migration.checksum();
        (record.checksum != wanted).then(|| {
            format!(
                "version {} ({}) was applied with checksum {}, this marketprism-central has it with checksum {wanted}; \
                 run the one that applied it, or see what differs and correct the record in {RECORDS}",
                migration.version, migration.name, record.checksum
            )
        })
    })
}

pub fn is_newest(records: &MigrationRecords) -> bool {
    Migration::ALL.iter().all(|migration| records.contains_key(&migration.version))
}

/// Applies missing migrations under a lease: of several processes one applies them.
pub async fn apply(
    storage: &Storage,
    layout: &Layout<'_>,
    leases: &Leases,
    found: MigrationRecords,
) -> anyhow::Result<Vec<(Migration, ObjectResult)>> {
    let mut applied = BTreeSet::new();
    if !is_newest(&found) {
        let lease = leases
            .demand(LEASE, limits::DDL_TIMEOUT)
            .await
            .context("another process is migrating the tables")?;
        let done = apply_missing(storage, layout, &lease).await;
        lease.release().await;
        applied = done?;
    }
    let outcome = |migration: &Migration| match applied.contains(&migration.version) {
        true => ObjectResult::Applied,
        false => ObjectResult::AsWanted,
    };
    Ok(Migration::ALL.map(|migration| (migration, outcome(&migration))).into())
}

/// Applies missing migrations; returns their versions. One that was not recorded before a crash is repeated, which changes nothing.
async fn apply_missing(
    storage: &Storage,
    layout: &Layout<'_>,
    lease: &Lease,
) -> anyhow::Result<BTreeSet<u32>> {
    let records = records(storage, layout.database).await?;
    let missing = |migration: &Migration| !records.contains_key(&migration.version);
    let mut applied = BTreeSet::new();
    for migration in Migration::ALL.into_iter().filter(missing) {
        for statement in migration.statements(layout) {
            if lease.valid_for().is_zero() {
                bail!("the lease {LEASE} was lost before version {} was applied", migration.version);
            }
            execute(storage, &statement.sql).await.with_context(|| {
                format!(
                    "cannot apply version {} to {}.{}",
                    migration.version, layout.database, statement.table
                )
            })?;
        }
        record(storage, layout.database, &migration).await.with_context(|| {
            format!(
                "version {} was applied to {}, but cannot be recorded",
                migration.version, layout.database
            )
        })?;
        applied.insert(migration.version);
    }
    Ok(applied)
}

/// Runs a statement that every server of a cluster may have to execute.
pub async fn execute(storage: &Storage, sql: &str) -> Result<(), StorageError> {
    let client = limited(&storage.client, limits::DDL_TIMEOUT);
    bounded(limits::DDL_TIMEOUT, client.query_raw(sql).execute()).await
}

async fn record(storage: &Storage, database: &str, migration: &Migration) -> Result<(), StorageError> {
    let sql = format!(
        "INSERT INTO {database}.{RECORDS} (version, name, checksum, applied_at, applied_by) SELECT ?, ?, ?, now64(3, 'UTC'), ?"
    );
    let by = concat!("marketprism-central ", env!("CARGO_PKG_VERSION"));
    let insert = storage.client.query(&sql);
    let insert = insert.bind(migration.version).bind(migration.name).bind(migration.checksum()).bind(by);
    bounded(limits::QUERY_TIMEOUT, insert.execute()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> MigrationRecords {
        let record = |migration: &Migration| MigrationRecord {
            version: migration.version,
            name: migration.name.to_owned(),
            checksum: migration.checksum(),
        };
        Migration::ALL.iter().map(|migration| (migration.version, record(migration))).collect()
    }

    #[test]
    fn unknown_or_altered_migrations_are_refused() {
        assert_eq!((refusal(&MigrationRecords::new()), refusal(&all())), (None, None));
        assert!(is_newest(&all()) && !is_newest(&MigrationRecords::new()));

        let mut changed = all();
        changed.get_mut(&1).unwrap().checksum = "feed".to_owned();
        let text = refusal(&changed).unwrap();
        for part in ["version 1 (events)", "checksum feed", &Migration::ALL[1].checksum()] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let mut newer = all();
        newer.insert(77, MigrationRecord { version: 77, name: "more".to_owned(), checksum: String::new() });
        assert!(refusal(&newer).unwrap().contains("version 77 (more)"));
    }
}
