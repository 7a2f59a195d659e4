//! State of every table, read once for the rechecks of all: parts and mutations on both sides, and the entries of the window log.
//!
//! Rows are in parts that never change, so a table with the same parts has the same rows. The reverse is not true: a merge writes other parts of
//! the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join;
use tokio::sync::Mutex;

use super::queries::{CopyError, Endpoint, HotCold};
use super::window_log::{self, LogSummary, WindowLog};
use crate::shared_answer::SharedAnswer;
use crate::storage::{ACCESS_DENIED, StorageError};
use crate::{limits, sql};

/// Number and fingerprint.
type Fingerprint = (u64, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableVersion {
    /// By name and checksum: a name may come again after the newest parts were dropped and the server was restarted.
    parts: Fingerprint,
    /// Each `ALTER UPDATE`, `ALTER DELETE` and `DELETE` that the server lists. One that ends changes it again: until then parts hold the
    /// earlier content.
    mutations: Fingerprint,
}

/// By database and table; tables without rows may be missing.
type ServerStates = BTreeMap<(String, String), TableVersion>;

/// While they are equal the table has the same rows on both sides, and the same entries in the window log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableFacts {
    hot: TableVersion,
    cold: TableVersion,
    pub log: LogSummary,
    /// Of the window log as a whole: its entries may be changed by hand.
    log_mutations: Fingerprint,
}

impl TableFacts {
    pub const fn mutations(&self) -> [Fingerprint; 2] {
        [self.hot.mutations, self.cold.mutations]
    }
}

/// Tables of hot and cold; `None` where the user lacks the privilege to list their parts and mutations.
type Sides = Option<[BTreeMap<String, TableVersion>; 2]>;

#[derive(Debug, Clone)]
pub struct TableStates {
    pub asked_at: Instant,
    sides: Arc<Sides>,
    log: Arc<BTreeMap<String, LogSummary>>,
}

impl TableStates {
    pub fn logged(&self, table: &str) -> LogSummary {
        self.log.get(table).copied().unwrap_or_default()
    }

    pub fn facts(&self, table: &str) -> Option<TableFacts> {
        let [hot, cold] = versions(&self.sides, table)?;
        let [_, log] = versions(&self.sides, window_log::TABLE)?;
        Some(TableFacts { hot, cold, log: self.logged(table), log_mutations: log.mutations })
    }
}

/// State of the window log, and what it had then.
type KnownLog = (TableVersion, Arc<BTreeMap<String, LogSummary>>);

/// Of hot and cold.
fn versions(sides: &Sides, table: &str) -> Option<[TableVersion; 2]> {
    let sides = sides.as_ref()?;
    Some(sides.each_ref().map(|side| side.get(table).copied().unwrap_or_default()))
}

/// The newest states, for the tables of one holder of the lease.
#[derive(Debug, Default)]
pub struct SharedStates {
    newest: SharedAnswer<Arc<TableStates>, CopyError>,
    sides: SharedAnswer<Arc<Sides>, CopyError>,
    log: Mutex<Option<KnownLog>>,
    /// The last failure, and when it was asked.
    failed: Mutex<Option<(Instant, CopyError)>>,
}

impl SharedStates {
    /// As of this time or later, and not older than `CLOCK_FRESH`. A failure since then is that of all: where the server is too
    /// slow, tables do not wait for it one after another.
    pub async fn since(&self, since: Instant, pair: &HotCold) -> Result<Arc<TableStates>, CopyError> {
        let fresh = Instant::now().checked_sub(limits::CLOCK_FRESH).unwrap_or(since);
        let read = async {
            let mut failed = self.failed.lock().await;
            if let Some((_, error)) = failed.as_ref().filter(|(asked, _)| *asked >= since) {
                return Err(error.clone());
            }
            let asked = Instant::now();
            let states = self.read(pair).await;
            *failed = states.as_ref().err().map(|error| (asked, error.clone()));
            states
        };
        self.newest.since(since.max(fresh), read).await
    }

    /// Parts and mutations of one table on both sides, not older than `CLOCK_FRESH`.
    pub async fn fresh(&self, pair: &HotCold, table: &str) -> Result<Option<[TableVersion; 2]>, CopyError> {
        let now = Instant::now();
        let fresh = now.checked_sub(limits::CLOCK_FRESH).unwrap_or(now);
        let sides = self.sides.since(fresh, sides(pair)).await?;
        Ok(versions(&sides, table))
    }

    async fn read(&self, pair: &HotCold) -> Result<Arc<TableStates>, CopyError> {
        let asked_at = Instant::now();
        let sides = self.sides.since(asked_at, sides(pair)).await?;
        let state = versions(&sides, window_log::TABLE).map(|[_, cold]| cold);
        let mut known = self.log.lock().await;
        let log = match &*known {
            Some((then, log)) if Some(*then) == state => Arc::clone(log),
            _ => Arc::new(WindowLog::summaries(&pair.cold).await?),
        };
        // An entry that was written after the state was read changes the next one.
        *known = state.map(|state| (state, Arc::clone(&log)));
        Ok(Arc::new(TableStates { asked_at, sides, log }))
    }
}

async fn sides(pair: &HotCold) -> Result<Arc<Sides>, CopyError> {
    let HotCold { hot, cold, is_one_server, .. } = pair;
    let (of_hot, of_cold) = (&hot.storage.database, &cold.storage.database);
    let asked = async {
        if *is_one_server {
            let all = cold.table_states(&[of_hot, of_cold]).await?;
            return Ok((all.clone(), all));
        }
        try_join(hot.table_states(&[of_hot]), cold.table_states(&[of_cold])).await
    };
    let listed = asked.await;
    let sides = listed.map(|(hot, cold)| [of_database(hot, of_hot), of_database(cold, of_cold)]);
    unless_denied(sides).map(Arc::new)
}

/// Without the privilege the servers never list them. Any other failure may be over soon: it says nothing of the tables.
fn unless_denied<T>(listed: Result<T, CopyError>) -> Result<Option<T>, CopyError> {
    match listed {
        Ok(listed) => Ok(Some(listed)),
        Err(CopyError::Storage {
            side,
            error: error @ StorageError::Refused { code: ACCESS_DENIED, .. },
        }) => {
            tracing::debug!(side, %error, "parts and mutations cannot be listed; all tables are compared whole");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn of_database(states: ServerStates, database: &str) -> BTreeMap<String, TableVersion> {
    let own = states.into_iter().filter(|((of, _), _)| of == database);
    own.map(|((_, table), state)| (table, state)).collect()
}

impl Endpoint {
    async fn table_states(&self, databases: &[&str]) -> Result<ServerStates, CopyError> {
        let databases: Vec<String> = databases.iter().map(|database| sql::quote(database)).collect();
        let of = format!("database IN ({})", databases.join(", "));
        let sql = format!(
            "SELECT toUInt8(1), database, table, count(), groupBitXor(cityHash64(name, hash_of_all_files)) FROM system.parts \
             WHERE active AND {of} GROUP BY database, table UNION ALL \
             SELECT toUInt8(0), database, table, count(), groupBitXor(cityHash64(mutation_id, create_time, is_done)) \
             FROM system.mutations WHERE {of} GROUP BY database, table"
        );
        let rows = self.ask(self.query(&sql).fetch_all::<(u8, String, String, u64, u64)>()).await?;
        let mut states = ServerStates::new();
        for (is_parts, database, table, number, fingerprint) in rows {
            let state = states.entry((database, table)).or_default();
            let of = if is_parts == 1 { &mut state.parts } else { &mut state.mutations };
            *of = (number, fingerprint);
        }
        Ok(states)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_privilege_means_that_tables_have_no_states() {
        let refused = |code| {
            let error = StorageError::Refused { code, text: "refused".to_owned() };
            unless_denied::<()>(Err(CopyError::Storage { side: "cold", error }))
        };
        assert!(matches!(refused(ACCESS_DENIED), Ok(None)));
        // Too slow, too many queries, out of memory.
        for code in [159, 202, 241] {
            assert!(refused(code).is_err(), "{code} of a loaded server makes it compare everything");
        }
        assert!(matches!(unless_denied(Ok(())), Ok(Some(()))));
    }
}
