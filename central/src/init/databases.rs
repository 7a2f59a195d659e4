use anyhow::Context as _;
use marketprism_schema::{DatabaseKind, Layout, Migration};

use super::migrations::{self, execute};
use super::shape::{Shape, Shapes};
use super::{Difference, ObjectResult, ProvisionReport, scratch};
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
    let outcome = ensure_database(storage, layout).await;
    report.add("database", database, outcome.with_context(|| format!("database {database}"))?);
    let before = Shapes::of(storage, database).await?;
    let records = migrations::records(storage, database).await?;
    if let Some(refusal) = migrations::refusal(&records) {
        report.add("migrations of", database, ObjectResult::Refused(refusal));
        return Ok(());
    }
    for (migration, outcome) in migrations::apply(storage, layout, leases, records).await? {
        let Migration { version, name, .. } = migration;
        report.add("migration", &format!("{database} {version:04} {name}"), outcome);
    }
    let after = Shapes::of(storage, database).await?;
    let tables = Migration::tables(layout.kind);
    // Tables created just now need no comparison.
    let wanted = match tables.iter().any(|table| before.get(table).is_some()) {
        true => scratch::wanted(storage, layout).await?,
        false => Shapes::default(),
    };
    for table in &tables {
        let full_name = format!("{database}.{table}");
        let outcome = match (before.get(table), after.get(table), wanted.get(table)) {
            (None, Some(_), _) => Ok(ObjectResult::Created),
            (_, None, _) => recreate(storage, layout, table).await,
            (_, Some(found), wanted) => match wanted {
                Some(wanted) => compare(storage, layout, table, (wanted, found), apply).await,
                None => Err(anyhow::anyhow!("the scratch table is missing")),
            },
        };
        report.add("table", &full_name, outcome.with_context(|| format!("table {full_name}"))?);
    }
    Ok(())
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
