//! Comparison of the tables with their definitions, cached.

use std::time::Instant;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Answer, Sources};
use crate::clock;
use crate::report::Time;
use crate::report::document::{SchemaDifference, SchemaReport};
use crate::{init, limits};

/// Newest comparison, and the one under way. A comparison creates and drops tables, so one that outlasts a request goes on, and the next
/// request gets its result.
#[derive(Default)]
pub struct SchemaCache(Mutex<SchemaComparison>);

#[derive(Default)]
struct SchemaComparison {
    known: Option<(Instant, SchemaReport)>,
    running: Option<JoinHandle<Answer<SchemaReport>>>,
}

impl SchemaCache {
    pub async fn state(&self, sources: &Sources) -> Answer<SchemaReport> {
        let mut inner = self.0.lock().await;
        if let Some((at, known)) = &inner.known
            && at.elapsed() < limits::SCHEMA_FRESH
        {
            return Ok(known.clone());
        }
        let sources_of_task = sources.clone();
        let running =
            inner.running.get_or_insert_with(|| tokio::spawn(async move { compare(&sources_of_task).await }));
        let Ok(ended) = timeout(limits::SCHEMA_PATIENCE.min(sources.patience), running).await else {
            // An older comparison is better than none.
            let known = inner.known.as_ref().map(|(_, known)| known.clone());
            return known.ok_or_else(|| "the first comparison of the tables is still running".to_owned());
        };
        inner.running = None;
        let state = ended.map_err(|error| format!("the comparison of the tables panicked: {error}"))??;
        inner.known = Some((Instant::now(), state.clone()));
        Ok(state)
    }
}

async fn compare(sources: &Sources) -> Answer<SchemaReport> {
    let found = init::schema_state(&sources.config, &sources.hot, &sources.cold).await;
    let of_database = found.databases.iter().filter_map(|database| {
        let problem = database.problem.as_ref()?;
        Some(SchemaDifference {
            what: format!("database {}", database.database),
            difference: problem.clone(),
            changeable: false,
        })
    });
    let of_table = found.tables.iter().flat_map(|table| {
        table.differences.iter().map(move |difference| SchemaDifference {
            what: format!("{}.{} against {}", table.database, table.table, table.compared_with),
            difference: difference.to_string(),
            changeable: difference.changeable,
        })
    });
    Ok(SchemaReport {
        checked_at: Time(clock::now_ns() / 1_000_000),
        as_wanted: found.equal == Some(true),
        differences: of_database.chain(of_table).collect(),
    })
}
