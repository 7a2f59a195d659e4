//! A scratch database: the wanted tables in the server's own spelling, for comparison.

use std::time::Duration;

use anyhow::Context as _;
use marketprism_schema::{Layout, Migration};

use super::migrations::execute;
use super::shape::Shapes;
use crate::clock::now_ns;
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// Prefix of scratch databases; creation time in seconds and a random number follow.
const PREFIX: &str = "marketprism_scratch_";

/// The tables of a layout in the server's spelling: types, keys, codecs, defaults, indices.
///
/// Created in the form of a single server: no need to replicate empty tables that live for a moment.
pub async fn wanted(storage: &Storage, layout: &Layout<'_>) -> anyhow::Result<Shapes> {
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
