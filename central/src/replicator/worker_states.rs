//! States of a table for its recheck.

use std::sync::Arc;

use super::super::table_states::TableStates;
use super::super::window_ops::WindowOps;
use super::TableWorker;

impl TableWorker<'_> {
    /// States for a recheck that is due. A server that does not give them delays the recheck alone: rows are copied without.
    pub(super) async fn states(&mut self, ops: &WindowOps<'_>) -> Option<Arc<TableStates>> {
        let (due, table) = (self.recheck.begins_from()?, self.table.name);
        match self.shared.states.since(due, ops.pair).await {
            Ok(states) => {
                if std::mem::take(&mut self.lacks_states) {
                    tracing::info!(table, "hot and cold are compared again");
                }
                Some(states)
            }
            Err(error) => {
                self.recheck.postpone(self.context.config.replication.recheck);
                if !std::mem::replace(&mut self.lacks_states, true) {
                    let error = error.to_string();
                    tracing::warn!(
                        table,
                        error,
                        "parts and mutations cannot be read; the recheck waits, rows are copied"
                    );
                } else {
                    tracing::debug!(table, %error, "parts and mutations still cannot be read");
                }
                None
            }
        }
    }

    pub(super) async fn is_at_rest(&mut self, ops: &WindowOps<'_>) -> bool {
        let states = self.states(ops).await;
        self.recheck.is_at_rest(states.and_then(|states| states.facts(ops.table.name)))
    }
}
