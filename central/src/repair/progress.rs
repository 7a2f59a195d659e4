//! What is asked of a repair, and how far it has come.

use std::sync::{Mutex, MutexGuard, PoisonError};

use marketprism_schema::Table;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock;
use crate::limits;

/// What is asked of a repair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = RepairRequest)]
pub struct Request {
    /// Only this table.
    pub table: Option<String>,
    /// Only windows that start at this moment or later, milliseconds since 1970. With `from_ms` or `to_ms` every window of the range is
    /// compared anew; without, those are looked at that are logged as not verified.
    pub from_ms: Option<i64>,
    /// Only windows that start before this moment, milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Delete rows of cold that hot does not hold and that were not there when the window was verified. Without, they stay: they may be the
    /// only copy.
    pub drop_extra: bool,
}

impl Request {
    /// Whether it names a table and a range that can be.
    ///
    /// # Errors
    /// Says which value is wrong and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if let Some(name) = &self.table
            && Table::ALL.iter().all(|table| table.name != name)
        {
            let names: Vec<&str> = Table::ALL.iter().map(|table| table.name).collect();
            return Err(format!("table: is {name:?}, allowed are {}", names.join(", ")));
        }
        match (self.from_ms, self.to_ms) {
            (Some(from), Some(to)) if from >= to => {
                Err(format!("from_ms: is {from}, allowed is less than to_ms, {to}"))
            }
            _ => Ok(()),
        }
    }
}

/// How a repair stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepairPhase {
    /// Under way.
    Running,
    /// Came to its end.
    Done,
    /// Could not go on.
    Failed,
}

/// What became of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RepairFate)]
pub enum Fate {
    /// Hot and cold are the same again.
    Mended,
    /// Would be mended without `dry_run`.
    WouldMend,
    /// An edge has sent events again; the next comparison of the ledger tells whether all is there.
    Resent,
    /// Stays as it is.
    Left,
}

/// One window, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RepairOutcome)]
pub struct Outcome {
    /// Table in hot and cold.
    pub table: String,
    /// The edge's stream, `edge exchange.market_type.symbol`, where the edge was asked.
    pub stream: Option<String>,
    /// Start of the window, or of the stretch that the edge was asked for.
    pub window_start: String,
    /// What became of it.
    pub fate: Fate,
    /// What was done, or why nothing.
    pub what: String,
}

/// How far a repair has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RepairProgress)]
pub struct Progress {
    /// How it stands.
    pub state: RepairPhase,
    /// What was asked.
    pub request: Request,
    /// When it began, nanoseconds since 1970.
    pub started_ns: i64,
    /// When it ended.
    pub finished_ns: Option<i64>,
    /// What it does at the moment.
    pub doing: String,
    /// Windows mended.
    pub mended: u64,
    /// Windows that would be mended.
    pub would_mend: u64,
    /// Stretches that edges have sent again.
    pub resent: u64,
    /// Windows and stretches that stay as they are.
    pub left: u64,
    /// Why it could not go on.
    pub error: Option<String>,
    /// The newest outcomes, oldest first.
    pub outcomes: Vec<Outcome>,
}

/// Where a repair notes what it does; others may look at the same time.
#[derive(Debug)]
pub struct Journal {
    progress: Mutex<Progress>,
    echo: Option<fn(&Outcome)>,
}

impl Journal {
    /// Of a repair that begins now; `echo` is given every outcome.
    pub fn new(request: &Request, echo: Option<fn(&Outcome)>) -> Self {
        let progress = Mutex::new(Progress {
            state: RepairPhase::Running,
            request: request.clone(),
            started_ns: clock::now_ns(),
            finished_ns: None,
            doing: "waiting for the lease of the replicator".to_owned(),
            mended: 0,
            would_mend: 0,
            resent: 0,
            left: 0,
            error: None,
            outcomes: Vec::new(),
        });
        Self { progress, echo }
    }

    /// Notes what is being done.
    pub fn doing(&self, what: String) {
        self.lock().doing = what;
    }

    /// Notes what became of a window.
    pub fn add(&self, outcome: Outcome) {
        tracing::debug!(table = outcome.table, window = outcome.window_start, what = outcome.what, "repair");
        if let Some(echo) = self.echo {
            echo(&outcome);
        }
        let mut progress = self.lock();
        match outcome.fate {
            Fate::Mended => progress.mended += 1,
            Fate::WouldMend => progress.would_mend += 1,
            Fate::Resent => progress.resent += 1,
            Fate::Left => progress.left += 1,
        }
        if progress.outcomes.len() >= limits::REPAIR_OUTCOMES {
            // What was mended is told by its number; what stays matters more.
            let place = progress.outcomes.iter().position(|o| o.fate != Fate::Left).unwrap_or(0);
            progress.outcomes.remove(place);
        }
        progress.outcomes.push(outcome);
    }

    /// Notes the end.
    pub fn end(&self, ended: &anyhow::Result<()>) {
        let mut progress = self.lock();
        progress.finished_ns = Some(clock::now_ns());
        progress.doing.clear();
        progress.state = if ended.is_ok() { RepairPhase::Done } else { RepairPhase::Failed };
        progress.error = ended.as_ref().err().map(|error| format!("{error:#}"));
    }

    /// As it stands now.
    pub fn progress(&self) -> Progress {
        self.lock().clone()
    }

    // The value is whole at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a table that is not one of ours and a range that ends before it begins are refused with what is allowed.
    #[test]
    fn wrong_requests_are_refused() {
        let request = |table: &str, from_ms, to_ms| Request {
            table: Some(table.to_owned()),
            from_ms: Some(from_ms),
            to_ms: Some(to_ms),
            ..Request::default()
        };
        assert_eq!(request("trades", 1, 2).check(), Ok(()));
        assert!(request("trade", 1, 2).check().unwrap_err().contains("trades, orderbooks"));
        assert!(request("trades", 2, 2).check().unwrap_err().contains("from_ms"));
    }

    /// Goal: the list of outcomes is bounded, and gives up what was mended before what stays.
    #[test]
    fn outcomes_are_bounded() {
        let journal = Journal::new(&Request::default(), None);
        for number in 0..limits::REPAIR_OUTCOMES + 10 {
            journal.add(Outcome {
                table: "trades".to_owned(),
                stream: None,
                window_start: number.to_string(),
                fate: if number < 5 { Fate::Left } else { Fate::Mended },
                what: String::new(),
            });
        }
        let progress = journal.progress();
        assert_eq!(progress.outcomes.len(), limits::REPAIR_OUTCOMES);
        assert_eq!(progress.outcomes.iter().filter(|o| o.fate == Fate::Left).count(), 5);
        assert_eq!((progress.left, progress.mended), (5, limits::REPAIR_OUTCOMES as u64 + 5));
    }
}
