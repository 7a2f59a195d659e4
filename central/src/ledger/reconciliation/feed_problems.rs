//! Problems of whole feeds as edges report them: they explain windows without a complete audit.

use std::collections::HashMap;

use super::queries::{self, FeedProblemRow};
use crate::ledger::edge_stream::EdgeStream;
use crate::ledger::windows::{WindowGrid, WindowRange};
use crate::storage::{Storage, StorageError};

/// Characters of a reason that are quoted.
const QUOTE: usize = 160;

/// By window, edge and exchange.
#[derive(Debug, Default)]
pub struct FeedProblems(HashMap<(i64, String, String), FeedProblem>);

#[derive(Debug, Default, PartialEq, Eq)]
struct FeedProblem {
    malformed: u64,
    reconnects: u64,
    adapter_faults: u64,
    not_running: Option<String>,
}

impl FeedProblems {
    pub async fn read(storage: &Storage, grid: WindowGrid, range: WindowRange) -> Result<Self, StorageError> {
        let mut problems = Self::default();
        for row in queries::feed_problems(storage, range).await? {
            let window = grid.of(row.window_ms.saturating_mul(1_000_000));
            problems.0.entry((window, row.edge.clone(), row.exchange.clone())).or_default().add(row);
        }
        Ok(problems)
    }

    pub fn explain(&self, window: i64, edge_stream: &EdgeStream) -> Option<String> {
        let (edge, exchange) = (&edge_stream.edge, &edge_stream.stream.exchange);
        let problem = self.0.get(&(window, edge.clone(), exchange.clone()))?;
        Some(format!("feed {exchange} of edge {edge}: {}", problem.as_text()))
    }
}

impl FeedProblem {
    /// Several runs of an edge in one window add up.
    fn add(&mut self, row: FeedProblemRow) {
        self.malformed = self.malformed.saturating_add(row.malformed);
        self.reconnects = self.reconnects.saturating_add(row.reconnects);
        self.adapter_faults = self.adapter_faults.saturating_add(row.adapter_faults);
        self.not_running = row.not_running.or(self.not_running.take());
    }

    fn as_text(&self) -> String {
        let stopped = self.not_running.as_ref().map(|reason| {
            let reason: String = reason.chars().take(QUOTE).collect();
            format!("not running ({reason})")
        });
        let counted = [
            (self.malformed, "malformed frames"),
            (self.adapter_faults, "adapter faults"),
            (self.reconnects, "reconnects"),
        ];
        let counted = counted.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> =
            stopped.into_iter().chain(counted.map(|(count, what)| format!("{count} {what}"))).collect();
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_add_up_and_zero_counts_are_left_out() {
        let row = |malformed, not_running: Option<&str>| FeedProblemRow {
            window_ms: 0,
            edge: "e1".into(),
            exchange: "sim".into(),
            malformed,
            reconnects: 0,
            adapter_faults: 1,
            not_running: not_running.map(str::to_owned),
        };
        let mut problem = FeedProblem::default();
        problem.add(row(2, Some("refused")));
        problem.add(row(3, None));
        assert_eq!(problem.as_text(), "not running (refused), 5 malformed frames, 2 adapter faults");
    }
}
