//! Databases and tables.

use anyhow::Context as _;
use marketprism_schema::{DEAD_LETTERS, Table, dead_letter_ddl, table_ddl};

use super::shape::Shape;
use super::{Difference, Outcome, Report};
use crate::config::Config;
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// Creates databases and tables that are missing, compares those that are there.
///
/// A table is compared with one that the server makes, empty and for a moment, from the wanted definition: so that the server's own
/// spelling of types, keys, codecs and defaults is on both sides.
pub async fn ensure(
    config: &Config,
    storage: &Storage,
    apply: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let place = &config.clickhouse;
    for (database, ttl_days, is_hot) in
        [(&place.hot_database, place.hot_ttl_days, true), (&place.cold_database, place.cold_ttl_days, false)]
    {
        let outcome = ensure_database(storage, database).await;
        report.add("database", database, outcome.with_context(|| format!("database {database}"))?);
        let tables = Table::ALL.iter().map(|table| (table.name, table_ddl(table, database, ttl_days)));
        let dead_letters = is_hot.then(|| (DEAD_LETTERS, dead_letter_ddl(database, ttl_days)));
        for (name, ddl) in tables.chain(dead_letters) {
            let outcome = ensure_table(storage, database, name, &ddl, apply).await;
            let full_name = format!("{database}.{name}");
            report.add("table", &full_name, outcome.with_context(|| format!("table {full_name}"))?);
        }
    }
    Ok(())
}

async fn ensure_database(storage: &Storage, database: &str) -> Result<Outcome, StorageError> {
    let sql = "SELECT count() FROM system.databases WHERE name = ?";
    let query = storage.client.query(sql).bind(database).fetch_one::<u64>();
    if bounded(limits::QUERY_TIMEOUT, query).await? > 0 {
        return Ok(Outcome::AsWanted);
    }
    storage.execute(&format!("CREATE DATABASE IF NOT EXISTS {database}")).await?;
    Ok(Outcome::Created)
}

async fn ensure_table(
    storage: &Storage,
    database: &str,
    name: &str,
    ddl: &str,
    apply: bool,
) -> anyhow::Result<Outcome> {
    let Some(found) = Shape::of(storage, database, name).await? else {
        storage.execute(ddl).await?;
        return Ok(Outcome::Created);
    };
    let model = format!("model_of_{name}_{:016x}", rand::random::<u64>());
    let created = storage
        .execute(&ddl.replacen(&format!("{database}.{name}"), &format!("{database}.{model}"), 1))
        .await
        .context("cannot create the table that the found one is compared with");
    let wanted = match &created {
        Ok(()) => Shape::of(storage, database, &model).await,
        Err(_) => Ok(None),
    };
    let dropped = storage.execute(&format!("DROP TABLE IF EXISTS {database}.{model}")).await;
    created?;
    dropped.with_context(|| format!("cannot drop {database}.{model}, an empty table made for comparison"))?;
    let wanted = wanted?.context("the table made for comparison is gone")?;

    let differences = wanted.differences(&found);
    if !apply || differences.is_empty() || differences.iter().any(|d| !d.changeable) {
        return Ok(Outcome::of(differences));
    }
    for statement in alterations(database, name, &differences) {
        storage.execute(&statement).await.with_context(|| statement.clone())?;
    }
    Ok(Outcome::Updated(differences))
}

fn alterations(database: &str, name: &str, differences: &[Difference]) -> Vec<String> {
    let alteration = |difference: &Difference| {
        let wanted = &difference.wanted;
        let change = match difference.setting.split_once(' ') {
            None if difference.setting == "ttl" => format!("MODIFY TTL {wanted}"),
            Some(("setting", key)) => format!("MODIFY SETTING {key} = {wanted}"),
            Some(("codec", column)) if wanted.is_empty() => format!("MODIFY COLUMN `{column}` REMOVE CODEC"),
            Some(("codec", column)) => format!("MODIFY COLUMN `{column}` {wanted}"),
            _ => return None,
        };
        Some(format!("ALTER TABLE {database}.{name} {change}"))
    };
    differences.iter().filter_map(alteration).collect()
}
