//! Comparison of the tables with their definitions, for the report. Read-only apart from a scratch database.

use marketprism_schema::{DatabaseKind, Layout, Migration, Table};
use marketprism_service::error_text;
use serde::Serialize;

use super::compared::Compared;
use super::shape::Shapes;
use super::{Difference, databases, migrations};
use crate::config::Config;
use crate::storage::Storage;

#[derive(Debug, Clone, Serialize)]
pub struct SchemaState {
    /// `None` when a database could not be queried and the rest is equal.
    pub equal: Option<bool>,
    pub databases: Vec<DatabaseState>,
    /// Every table with its definition, then cold with hot.
    pub tables: Vec<TableState>,
}

#[derive(Debug, Clone, Serialize)]
pub struct DatabaseState {
    pub database: String,
    pub side: &'static str,
    /// Newest recorded migration. `None` when there is none or it could not be read.
    pub version: Option<u32>,
    pub newest: u32,
    /// Migrations not applied yet, `version name`: `init` applies them.
    pub pending: Vec<String>,
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct TableState {
    pub database: String,
    pub table: String,
    /// `source`, or the name of the hot database.
    pub compared_with: String,
    /// TTL does not count between hot and cold.
    pub equal: bool,
    pub differences: Vec<Difference>,
}

/// Compares hot and cold with the definitions, and cold with hot, by column. Takes tenths of a second and creates tables, so
/// the caller caches it.
pub async fn schema_state(config: &Config, hot: &Storage, cold: &Storage) -> SchemaState {
    let layouts = [DatabaseKind::Hot, DatabaseKind::Cold].map(|kind| databases::layout(config, kind));
    let [hot_layout, cold_layout] = &layouts;
    let (hot, cold) = tokio::join!(compare_database(hot_layout, hot), compare_database(cold_layout, cold));
    let (hot_state, hot_shapes, mut tables) = hot;
    let (cold_state, cold_shapes, of_cold) = cold;
    tables.extend(of_cold);
    for table in Table::ALL.iter().map(|table| table.name) {
        // A missing table is reported by the comparison with the definition.
        let (Some(wanted), Some(found)) = (hot_shapes.get(table), cold_shapes.get(table)) else { continue };
        tables.push(TableState::new(
            &cold_state.database,
            table,
            &hot_state.database,
            wanted.differences_of_copy(found),
        ));
    }
    let databases = vec![hot_state, cold_state];
    let is_newest = databases.iter().all(|database| database.pending.is_empty());
    let equal = match is_newest && tables.iter().all(|table| table.equal) {
        false => Some(false),
        true => databases.iter().all(|database| database.problem.is_none()).then_some(true),
    };
    SchemaState { equal, databases, tables }
}

async fn compare_database(
    layout: &Layout<'_>,
    storage: &Storage,
) -> (DatabaseState, Shapes, Vec<TableState>) {
    let mut state = DatabaseState {
        database: layout.database.to_owned(),
        side: layout.kind.name(),
        version: None,
        newest: Migration::newest(),
        pending: Vec::new(),
        problem: None,
    };
    match compare(layout, storage, &mut state).await {
        Ok((found, compared)) => (state, found, compared),
        Err(error) => {
            state.problem = Some(error_text(error.as_ref()));
            (state, Shapes::default(), Vec::new())
        }
    }
}

async fn compare(
    layout: &Layout<'_>,
    storage: &Storage,
    state: &mut DatabaseState,
) -> anyhow::Result<(Shapes, Vec<TableState>)> {
    let records = migrations::records(storage, layout.database).await?;
    state.version = records.last_key_value().map(|(version, _)| *version);
    state.problem = migrations::refusal(&records);
    let pending = Migration::ALL.iter().filter(|migration| !records.contains_key(&migration.version));
    state.pending = pending.map(|migration| format!("{:04} {}", migration.version, migration.name)).collect();
    let version = databases::server_version(storage).await?;
    // Before the tables: a change in between is compared.
    let is_noted = Compared::read(storage, layout, &version).await?.is_noted();
    let found = Shapes::of(storage, layout.database).await?;
    if state.problem.is_some() {
        return Ok((found, Vec::new()));
    }
    if is_noted {
        let tables = Migration::tables(layout.kind).into_iter();
        let compared = tables.map(|table| TableState::new(layout.database, &table, "source", Vec::new()));
        let compared = compared.collect();
        return Ok((found, compared));
    }
    let wanted = databases::wanted_tables(storage, layout).await?;
    let compared = Migration::tables(layout.kind).into_iter().map(|table| {
        let differences = match (wanted.get(&table), found.get(&table)) {
            (Some(wanted), Some(found)) => wanted.differences(found, layout.cluster.is_some()),
            (Some(_), None) => vec![Difference::missing()],
            (None, _) => Vec::new(),
        };
        TableState::new(layout.database, &table, "source", differences)
    });
    let compared = compared.collect();
    Ok((found, compared))
}

impl TableState {
    fn new(database: &str, table: &str, compared_with: &str, differences: Vec<Difference>) -> Self {
        Self {
            database: database.to_owned(),
            table: table.to_owned(),
            compared_with: compared_with.to_owned(),
            equal: differences.is_empty(),
            differences,
        }
    }
}
