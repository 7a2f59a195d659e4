//! Options and progress of a repair.

use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Args;
use marketprism_schema::Table;
use marketprism_service::error_text;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::time::{InvalidParameter, Time, read_time};
use crate::{clock, limits};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RepairRequest)]
pub struct RepairOptions {
    /// Only this table.
    pub table: Option<String>,
    /// Only windows that start at this time or later, milliseconds since 1970. With `from_ms` or `to_ms` every window of the range is
    /// compared again; without, only windows logged as not verified.
    pub from_ms: Option<i64>,
    /// Only windows that start earlier, milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// Report what would be done, change nothing.
    pub dry_run: bool,
    /// Delete rows of cold that hot does not have and that were not there when the window was verified. They may be the only copy.
    pub drop_extra: bool,
}

/// Scope of a repair, as given over HTTP or on the command line.
#[derive(Debug, Clone, Default, Args, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = RepairBody)]
pub struct RepairQuery {
    /// Only this table.
    #[arg(long)]
    #[schema(examples("trades"))]
    pub table: Option<String>,
    /// Begin: RFC 3339, or an age such as `24h`. With `from` or `to` every window of the range is compared again; without, only
    /// windows logged as not verified.
    #[arg(long)]
    #[schema(examples("24h"))]
    pub from: Option<String>,
    /// End, exclusive.
    #[arg(long)]
    #[schema(examples("now"))]
    pub to: Option<String>,
    /// Report what would be done, change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Delete rows of cold that hot does not have and that were not there when the window was verified. They may be the only copy.
    #[arg(long)]
    pub drop_extra: bool,
}

impl RepairQuery {
    pub fn read(&self, now_ms: i64) -> Result<RepairOptions, InvalidParameter> {
        let Self { table, from, to, dry_run, drop_extra } = self.clone();
        let table = table.filter(|name| !name.is_empty());
        let from_ms = read_time("from", from.as_deref(), now_ms)?;
        let to_ms = read_time("to", to.as_deref(), now_ms)?;
        if let Some(name) = table.as_deref()
            && Table::ALL.iter().all(|table| table.name != name)
        {
            let allowed = Table::ALL.map(|table| table.name).join(", ");
            return Err(InvalidParameter::new("table", Some(name), allowed));
        }
        match to_ms {
            Some(to) if from_ms.is_some_and(|from| from >= to) => {
                Err(InvalidParameter::new("from", from.as_deref(), format!("a time before to, {}", Time(to))))
            }
            _ => Ok(RepairOptions { table, from_ms, to_ms, dry_run, drop_extra }),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepairPhase {
    #[default]
    Running,
    Done,
    Failed,
}

/// Result for a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepairFate {
    /// Hot and cold are equal again.
    #[serde(rename = "mended")]
    Repaired,
    /// Would be repaired without `dry_run`.
    #[serde(rename = "would_mend")]
    WouldRepair,
    /// An edge has published events again; the ledger's next evaluation shows whether all have arrived.
    Resent,
    #[serde(rename = "left")]
    NotRepaired,
}

/// Result for one window or range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RepairOutcome {
    pub table: String,
    /// `edge exchange.market_type.symbol`, for requests to an edge.
    pub stream: Option<String>,
    /// Begin of the window, or of the range requested from the edge.
    pub window_start: String,
    pub fate: RepairFate,
    /// Action taken, or the reason for none.
    pub what: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct RepairProgress {
    pub state: RepairPhase,
    pub request: RepairOptions,
    /// Start, nanoseconds since 1970.
    pub started_ns: i64,
    /// End, nanoseconds since 1970.
    pub finished_ns: Option<i64>,
    pub doing: String,
    pub mended: u64,
    pub would_mend: u64,
    /// Ranges that edges have published again.
    pub resent: u64,
    pub left: u64,
    pub error: Option<String>,
    /// The newest results, the oldest first.
    pub outcomes: Vec<RepairOutcome>,
}

/// Results of a repair, readable while it runs.
#[derive(Debug)]
pub struct RepairLog {
    progress: Mutex<RepairProgress>,
    echo: Option<fn(&RepairOutcome)>,
}

impl RepairLog {
    /// `echo` receives every result.
    pub fn new(request: &RepairOptions, echo: Option<fn(&RepairOutcome)>) -> Self {
        let progress = Mutex::new(RepairProgress {
            request: request.clone(),
            started_ns: clock::now_ns(),
            doing: "waiting for the replicator's lease".to_owned(),
            ..RepairProgress::default()
        });
        Self { progress, echo }
    }

    pub fn doing(&self, what: String) {
        self.lock().doing = what;
    }

    pub fn add(&self, outcome: RepairOutcome) {
        tracing::debug!(table = outcome.table, window = outcome.window_start, what = outcome.what, "repair");
        if let Some(echo) = self.echo {
            echo(&outcome);
        }
        let mut progress = self.lock();
        match outcome.fate {
            RepairFate::Repaired => progress.mended += 1,
            RepairFate::WouldRepair => progress.would_mend += 1,
            RepairFate::Resent => progress.resent += 1,
            RepairFate::NotRepaired => progress.left += 1,
        }
        if progress.outcomes.len() >= limits::REPAIR_OUTCOMES {
            // Repaired windows are counted anyway; the list keeps what needs attention.
            let place = progress.outcomes.iter().position(|o| o.fate != RepairFate::NotRepaired).unwrap_or(0);
            progress.outcomes.remove(place);
        }
        progress.outcomes.push(outcome);
    }

    pub fn end(&self, ended: &anyhow::Result<()>) {
        let mut progress = self.lock();
        progress.finished_ns = Some(clock::now_ns());
        progress.doing.clear();
        progress.state = if ended.is_ok() { RepairPhase::Done } else { RepairPhase::Failed };
        progress.error = ended.as_ref().err().map(|error| error_text(error.as_ref()));
    }

    pub fn progress(&self) -> RepairProgress {
        self.lock().clone()
    }

    // The value is consistent at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, RepairProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_table_and_an_empty_range_are_refused() {
        let refused = |table: &str, from: &str, to: &str| {
            let [table, from, to] = [table, from, to].map(|text| Some(text.to_owned()));
            let query = RepairQuery { table, from, to, ..RepairQuery::default() };
            query.read(1_763_828_645_007).err().map(|error| error.field)
        };
        assert_eq!(refused("trades", "2h", "1h"), None);
        assert_eq!(refused("trade", "2h", "1h"), Some("table"));
        assert_eq!(refused("trades", "1h", "1h"), Some("from"));
        assert_eq!(refused("trades", "1h", "soon"), Some("to"));
    }

    #[test]
    fn results_are_bounded_and_keep_what_was_not_repaired() {
        let log = RepairLog::new(&RepairOptions::default(), None);
        for number in 0..limits::REPAIR_OUTCOMES + 10 {
            log.add(RepairOutcome {
                table: "trades".to_owned(),
                stream: None,
                window_start: number.to_string(),
                fate: if number < 5 { RepairFate::NotRepaired } else { RepairFate::Repaired },
                what: String::new(),
            });
        }
        let progress = log.progress();
        assert_eq!(progress.outcomes.len(), limits::REPAIR_OUTCOMES);
        assert_eq!(progress.outcomes.iter().filter(|o| o.fate == RepairFate::NotRepaired).count(), 5);
        assert_eq!((progress.left, progress.mended), (5, limits::REPAIR_OUTCOMES as u64 + 5));
    }
}
