//! The ledger's gauges.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::facts::millis;
use crate::clock;
use crate::context::CentralContext;
use crate::ledger::state::State;
use crate::limits;
use crate::storage::{StorageError, bounded};

const DAY_NS: i64 = 86_400_000_000_000;
/// The states are counted this often: about as often as windows end.
const EVERY: Duration = Duration::from_secs(60);

/// When the states were counted last.
#[derive(Debug, Default)]
pub struct Gauges(Option<Instant>);

#[derive(Debug, clickhouse::Row, Deserialize)]
struct Count {
    state: String,
    windows: u64,
}

impl Gauges {
    /// Counts the windows of the last day by state, now and then.
    pub async fn set(&mut self, shared: &CentralContext) -> Result<(), StorageError> {
        if self.0.is_some_and(|last| last.elapsed() < EVERY) {
            return Ok(());
        }
        let sql = format!(
            "SELECT toString(state) AS state, count() AS windows FROM {}.verdicts FINAL WHERE window_start >= {} \
             GROUP BY state SETTINGS max_threads = {}",
            shared.storage.database,
            millis(clock::now_ns() - DAY_NS),
            limits::COMPARISON_THREADS
        );
        let counts: Vec<Count> =
            bounded(limits::COMPARISON_TIMEOUT, shared.storage.client.query_raw(&sql).fetch_all()).await?;
        for state in State::ALL.map(State::as_str) {
            let windows = counts.iter().find(|count| count.state == state).map_or(0, |count| count.windows);
            let gauge = shared.metrics.ledger.windows.with_label_values(&[state]);
            gauge.set(i64::try_from(windows).unwrap_or(i64::MAX));
        }
        self.0 = Some(Instant::now());
        Ok(())
    }
}
