//! The schema, compared now and then.

use std::time::Instant;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Part, Sources};
use crate::clock;
use crate::report::Time;
use crate::report::document::{SchemaDifference, SchemaState};
use crate::{init, limits};

/// The newest comparison, and the one being made. Comparing makes tables and drops them again, so one that takes longer than a request
/// may wait goes on, and the next request has its result.
#[derive(Default)]
pub struct Cache(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    known: Option<(Instant, SchemaState)>,
    running: Option<JoinHandle<Part<SchemaState>>>,
}

impl Cache {
    /// How tables compare with what is wanted.
    pub async fn state(&self, sources: &Sources) -> Part<SchemaState> {
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
            // The one before is better than none.
            let known = inner.known.as_ref().map(|(_, known)| known.clone());
            return known.ok_or_else(|| "the first comparison of the tables still runs".to_owned());
        };
        inner.running = None;
        let state = ended.map_err(|error| format!("the comparison of the tables broke off: {error}"))??;
        inner.known = Some((Instant::now(), state.clone()));
        Ok(state)
    }
}

async fn compare(sources: &Sources) -> Part<SchemaState> {
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
    Ok(SchemaState {
        checked_at: Time(clock::now_ns() / 1_000_000),
        as_wanted: found.equal == Some(true),
        differences: of_database.chain(of_table).collect(),
    })
}
