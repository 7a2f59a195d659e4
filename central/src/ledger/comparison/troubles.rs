//! What edges say about their feeds as a whole, where there was trouble: it explains windows that nobody vouches for.

use std::collections::HashMap;

use serde::Deserialize;

use super::facts::millis;
use crate::ledger::source::Source;
use crate::ledger::windows::{Span, Windows};
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// Characters that are quoted of why a feed does not run.
const QUOTE: usize = 160;

/// Trouble of the feeds in a span, by window, edge and exchange.
#[derive(Debug, Default)]
pub struct Troubles(HashMap<(i64, String, String), Trouble>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Trouble {
    malformed: u64,
    reconnects: u64,
    adapter_faults: u64,
    not_running: Option<String>,
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct TroubleRow {
    window_ms: i64,
    edge: String,
    exchange: String,
    malformed: u64,
    reconnects: u64,
    adapter_faults: u64,
    not_running: Option<String>,
}

impl Troubles {
    /// Reads what there is in a span. Runs of an edge in one window add up.
    pub async fn read(storage: &Storage, windows: Windows, span: Span) -> Result<Self, StorageError> {
        let sql = format!(
            "SELECT toUnixTimestamp64Milli(window_start) AS window_ms, toString(edge) AS edge, toString(exchange) AS exchange, \
             malformed, reconnects, adapter_faults, not_running FROM {0}.feed_audits FINAL \
             WHERE {0}.feed_audits.window_start >= {1} AND {0}.feed_audits.window_start < {2} SETTINGS max_threads = {3}",
            storage.database,
            millis(span.from),
            millis(span.to),
            limits::COMPARISON_THREADS
        );
        let rows: Vec<TroubleRow> =
            bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await?;
        let mut troubles = Self::default();
        for row in rows {
            let window = windows.of(row.window_ms.saturating_mul(1_000_000));
            troubles.0.entry((window, row.edge.clone(), row.exchange.clone())).or_default().add(row);
        }
        Ok(troubles)
    }

    /// What the edge of a source says about its feed in a window.
    pub fn of(&self, window: i64, source: &Source) -> Option<String> {
        let Source { edge, exchange, .. } = source;
        let trouble = self.0.get(&(window, edge.clone(), exchange.clone()))?;
        Some(format!("edge {edge} tells of its feed of {exchange}: {}", trouble.in_words()))
    }
}

impl Trouble {
    fn add(&mut self, row: TroubleRow) {
        self.malformed = self.malformed.saturating_add(row.malformed);
        self.reconnects = self.reconnects.saturating_add(row.reconnects);
        self.adapter_faults = self.adapter_faults.saturating_add(row.adapter_faults);
        self.not_running = row.not_running.or(self.not_running.take());
    }

    fn in_words(&self) -> String {
        let stopped = self.not_running.as_ref().map(|why| {
            let why: String = why.chars().take(QUOTE).collect();
            format!("not running ({why})")
        });
        let counted = [
            (self.malformed, "frames that could not be read"),
            (self.adapter_faults, "frames that made the adapter fault"),
            (self.reconnects, "connections lost"),
        ];
        let counted = counted.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> =
            stopped.into_iter().chain(counted.map(|(count, what)| format!("{count} {what}"))).collect();
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: two runs in one window add up, and what is nought is not said.
    #[test]
    fn runs_add_up_and_nought_is_not_said() {
        let row = |malformed, not_running: Option<&str>| TroubleRow {
            window_ms: 0,
            edge: "e1".into(),
            exchange: "sim".into(),
            malformed,
            reconnects: 0,
            adapter_faults: 1,
            not_running: not_running.map(str::to_owned),
        };
        let mut trouble = Trouble::default();
        trouble.add(row(2, Some("refused")));
        trouble.add(row(3, None));
        let words =
            "not running (refused), 5 frames that could not be read, 2 frames that made the adapter fault";
        assert_eq!(trouble.in_words(), words);
    }
}
