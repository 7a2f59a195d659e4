//! Databases and tables, and the scratch database that shows the wanted tables in the server's own spelling.

use std::time::Duration;

use anyhow::Context as _;
use marketprism_schema::{DatabaseKind, Layout, Migration};

use super::compared::Compared;
use super::hot_ttl::note_raised_ttl;
use super::migrations::{self, execute};
use super::shape::{Shape, Shapes};
use super::{Difference, ObjectResult, ProvisionReport, versions};
use crate::clock::now_ns;
use crate::config::Config;
use crate::lease::Leases;
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

pub fn layout(config: &Config, kind: DatabaseKind) -> Layout<'_> {
    let place = &config.clickhouse;
    let (server, database, ttl_days) = match kind {
        DatabaseKind::Hot => (&place.hot, place.hot_database.as_str(), place.hot_ttl_days),
        DatabaseKind::Cold => (&place.cold, place.cold_database.as_str(), place.cold_ttl_days),
    };
    Layout {
        kind,
        database,
        ttl_days,
        ledger_ttl_days: config.ledger.retention_days,
        cluster: server.cluster.as_deref(),
    }
}

/// Creates a missing database, migrates it to the newest version, and compares its tables with the wanted ones.
pub async fn ensure(
    storage: &Storage,
    layout: &Layout<'_>,
    leases: &Leases,
    apply: bool,
    report: &mut ProvisionReport,
) -> anyhow::Result<()> {
    let database = layout.database;
    let version = server_version(storage).await.context("cannot query the server's version")?;
    versions::check(
        &format!("the ClickHouse server of database {database}"),
        &version,
        versions::CLICKHOUSE,
    )?;
    let outcome = ensure_database(storage, layout).await;
    report.add("database", database, outcome.with_context(|| format!("database {database}"))?);
    // Before the tables: those of the newest records are there.
    let records = migrations::records(storage, database).await?;
    if let Some(refusal) = migrations::refusal(&records) {
        report.add("migrations of", database, ObjectResult::Refused(refusal));
        return Ok(());
    }
    let was_newest = migrations::is_newest(&records);
    let before = if was_newest { None } else { Some(Shapes::of(storage, database).await?) };
    let applied = migrations::apply(storage, layout, leases, records).await?;
    // With this configuration; another process may have another one.
    let made_here = applied.iter().all(|(_, outcome)| *outcome == ObjectResult::Applied);
    for (migration, outcome) in applied {
        let Migration { version, name, .. } = migration;
        report.add("migration", &format!("{database} {version:04} {name}"), outcome);
    }
    // Before the tables: a change in between is compared, and not noted.
    let compared = Compared::read(storage, layout, &version).await?;
    let tables = Migration::tables(layout.kind);
    if was_newest && compared.is_noted() {
        for table in tables {
            report.add("table", &format!("{database}.{table}"), ObjectResult::AsWanted);
        }
        return Ok(());
    }
    let after = Shapes::of(storage, database).await?;
    let before = before.unwrap_or_else(|| after.clone());
    let as_wanted = compare_all(storage, layout, (&before, &after), apply, report).await?;
    let is_sure = made_here || tables.iter().all(|table| before.get(table).is_some());
    if as_wanted
        && is_sure
        && !compared.is_noted()
        && let Err(error) = compared.note(storage, database).await
    {
        tracing::warn!(database, %error, "cannot note that the tables are as wanted (right ALTER MODIFY COMMENT): each start compares them again");
    }
    Ok(())
}

/// True if every table is as wanted.
async fn compare_all(
    storage: &Storage,
    layout: &Layout<'_>,
    (before, after): (&Shapes, &Shapes),
    apply: bool,
    report: &mut ProvisionReport,
) -> anyhow::Result<bool> {
    let database = layout.database;
    let tables = Migration::tables(layout.kind);
    // Tables created just now need no comparison.
    let wanted = match tables.iter().any(|table| before.get(table).is_some()) {
        true => wanted_tables(storage, layout).await?,
        false => Shapes::default(),
    };
    let mut all_as_wanted = true;
    for table in &tables {
        let full_name = format!("{database}.{table}");
        let outcome = match (before.get(table), after.get(table), wanted.get(table)) {
            (None, Some(_), _) => Ok(ObjectResult::Created),
            (_, None, _) => recreate(storage, layout, table).await,
            (_, Some(found), Some(wanted)) => compare(storage, layout, table, (wanted, found), apply).await,
            (_, Some(_), None) => Err(anyhow::anyhow!("the scratch table is missing")),
        };
        let outcome = outcome.with_context(|| format!("table {full_name}"))?;
        let as_wanted = matches!(outcome, ObjectResult::Created | ObjectResult::AsWanted);
        all_as_wanted &= as_wanted && after.get(table).is_some();
        report.add("table", &full_name, outcome);
    }
    Ok(all_as_wanted)
}

pub async fn server_version(storage: &Storage) -> Result<String, StorageError> {
    let query = storage.client.query("SELECT version()").fetch_one::<String>();
    bounded(limits::QUERY_TIMEOUT, query).await
}

async fn ensure_database(storage: &Storage, layout: &Layout<'_>) -> Result<ObjectResult, StorageError> {
    let sql = "SELECT count() FROM system.databases WHERE name = ?";
    let query = storage.client.query(sql).bind(layout.database).fetch_one::<u64>();
    if bounded(limits::QUERY_TIMEOUT, query).await? > 0 {
        return Ok(ObjectResult::AsWanted);
    }
    let Layout { database, .. } = layout;
    execute(storage, &format!("CREATE DATABASE IF NOT EXISTS {database}{}", layout.on_cluster())).await?;
    Ok(ObjectResult::Created)
}

/// Recreates a table that is recorded as created but missing: nothing works without it, and its rows are lost anyway.
async fn recreate(storage: &Storage, layout: &Layout<'_>, table: &str) -> anyhow::Result<ObjectResult> {
    tracing::error!(database = layout.database, table, "the table was dropped; recreating it empty");
    for statement in Migration::ALL.iter().flat_map(|migration| migration.statements(layout)) {
        if statement.table == table {
            execute(storage, &statement.sql).await?;
        }
    }
    Ok(ObjectResult::Created)
}

async fn compare(
    storage: &Storage,
    layout: &Layout<'_>,
    table: &str,
    (wanted, found): (&Shape, &Shape),
    apply: bool,
) -> anyhow::Result<ObjectResult> {
    let differences = wanted.differences(found, layout.cluster.is_some());
    if !apply || differences.is_empty() || differences.iter().any(|d| !d.changeable) {
        return Ok(ObjectResult::of(differences));
    }
    note_raised_ttl(storage, layout, table, &differences)
        .await
        .context("cannot note that the TTL is raised")?;
    for statement in alterations(layout, table, &differences) {
        execute(storage, &statement).await.with_context(|| statement.clone())?;
    }
    Ok(ObjectResult::Updated(differences))
}

fn alterations(layout: &Layout<'_>, table: &str, differences: &[Difference]) -> Vec<String> {
    let target = format!("ALTER TABLE {}.{table}{}", layout.database, layout.on_cluster());
    let alteration = |difference: &Difference| {
        let wanted = &difference.wanted;
        let changes = match difference.setting.split_once(' ') {
            None if difference.setting == super::shape::TTL => vec![format!("MODIFY TTL {wanted}")],
            Some(("setting", key)) => vec![format!("MODIFY SETTING {key} = {wanted}")],
            Some(("codec", column)) if wanted.is_empty() => {
                vec![format!("MODIFY COLUMN `{column}` REMOVE CODEC")]
            }
            Some(("codec", column)) => vec![format!("MODIFY COLUMN `{column}` {wanted}")],
            Some(("index", index)) => vec![
                format!("DROP INDEX IF EXISTS {index}"),
                format!("ADD INDEX {index} {wanted}"),
                format!("MATERIALIZE INDEX {index}"),
            ],
            _ => Vec::new(),
        };
        changes.into_iter().map(|change| format!("{target} {change}")).collect::<Vec<_>>()
    };
    differences.iter().flat_map(alteration).collect()
}

/// Prefix of scratch databases; creation time in seconds and a random number follow.
const PREFIX: &str = "marketprism_scratch_";

/// The tables of a layout in the server's spelling: types, keys, codecs, defaults, indices.
///
/// Created in the form of a single server: no need to replicate empty tables that live for a moment.
pub async fn wanted_tables(storage: &Storage, layout: &Layout<'_>) -> anyhow::Result<Shapes> {
    drop_leftovers(storage).await.context("cannot drop leftover scratch databases")?;
    let name = format!("{PREFIX}{}_{:016x}", now_seconds(), rand::random::<u64>());
    let shapes = async {
        execute(storage, &format!("CREATE DATABASE {name}")).await?;
        let inside = Layout { database: &name, cluster: None, ..*layout };
        for statement in Migration::ALL.iter().flat_map(|migration| migration.statements(&inside)) {
            if !statement.on_rows {
                execute(storage, &statement.sql).await?;
            }
        }
        Shapes::of(storage, &name).await
    };
    let shapes = shapes.await.context("cannot create the scratch tables for the comparison");
    let dropped = drop_database(storage, &name).await;
    let shapes = shapes?;
    dropped.with_context(|| format!("cannot drop scratch database {name}"))?;
    Ok(shapes)
}

/// Drops scratch databases of killed processes.
async fn drop_leftovers(storage: &Storage) -> Result<(), StorageError> {
    let sql = "SELECT name FROM system.databases WHERE startsWith(name, ?)";
    let names = storage.client.query(sql).bind(PREFIX).fetch_all::<String>();
    let now = now_seconds();
    for name in bounded(limits::QUERY_TIMEOUT, names).await? {
        if made_at(&name).is_some_and(|made| made + limits::SCRATCH_AGE.as_secs() < now) {
            tracing::info!(name, "dropping a leftover scratch database");
            drop_database(storage, &name).await?;
        }
    }
    Ok(())
}

async fn drop_database(storage: &Storage, name: &str) -> Result<(), StorageError> {
    execute(storage, &format!("DROP DATABASE IF EXISTS {name} SYNC")).await
}

/// Creation second of a scratch database. `None` unless the name has exactly this form: it may be somebody else's.
fn made_at(name: &str) -> Option<u64> {
    let (seconds, random) = name.strip_prefix(PREFIX)?.split_once('_')?;
    let is_ours = random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit());
    is_ours.then(|| seconds.parse().ok()).flatten()
}

fn now_seconds() -> u64 {
    Duration::from_nanos(u64::try_from(now_ns()).unwrap_or(0)).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_scratch_databases_are_dropped() {
        assert_eq!(made_at("marketprism_scratch_1700000000_0123456789abcdef"), Some(1_700_000_000));
        for foreign in [
            "marketprism_scratch_1700000000",
            "marketprism_scratch_x_0123456789abcdef",
            "marketprism_scratch_1700000000_mine",
            "marketprism_hot",
        ] {
            assert_eq!(made_at(foreign), None, "{foreign}");
        }
    }
}
