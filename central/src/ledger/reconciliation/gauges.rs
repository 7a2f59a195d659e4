//! Gauges of the verdicts of the last day by state.

use std::time::{Duration, Instant};

use super::queries;
use crate::clock;
use crate::context::CentralContext;
use crate::ledger::verdict_state::VerdictState;
use crate::storage::StorageError;

const DAY_NS: i64 = 86_400_000_000_000;
/// About as often as windows end.
const EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct VerdictGauges {
    last_set: Option<Instant>,
}

impl VerdictGauges {
    /// Does nothing within [`EVERY`] after the last time.
    pub async fn set(&mut self, shared: &CentralContext) -> Result<(), StorageError> {
        if self.last_set.is_some_and(|last| last.elapsed() < EVERY) {
            return Ok(());
        }
        let counts = queries::counts_by_state(&shared.storage, clock::now_ns() - DAY_NS).await?;
        for state in VerdictState::ALL.map(VerdictState::as_str) {
            let windows = counts.get(state).copied().unwrap_or_default();
            let gauge = shared.metrics.ledger.windows.with_label_values(&[state]);
            gauge.set(i64::try_from(windows).unwrap_or(i64::MAX));
        }
        self.last_set = Some(Instant::now());
        Ok(())
    }
}
