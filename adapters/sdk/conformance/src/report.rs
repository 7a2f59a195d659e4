//! Results of the suite, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

/// Version of the JSON document: it rises when a field is renamed, removed or changes its meaning.
pub const VERSION: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    Passed,
    Failed,
    /// Not checked; the detail says why.
    Skipped,
}

impl CheckOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            CheckOutcome::Passed => "passed",
            CheckOutcome::Failed => "FAILED",
            CheckOutcome::Skipped => "skipped",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub id: &'static str,
    pub promise: &'static str,
    pub outcome: CheckOutcome,
    /// The amount of input that was checked, or the reason why nothing was.
    pub detail: String,
    /// Each names the frame, the field and the value.
    pub causes: Vec<String>,
    pub more_causes: u64,
}

/// Cost of the frames of one kind in the sandbox, in batches of 64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindCost {
    /// `trade`, `book delta`, `ignored`, ...
    pub kind: String,
    pub frames: u64,
    pub bytes_per_frame: u64,
    /// Median of the rounds.
    pub ns_per_frame: u64,
    /// Of the best round: closer to the truth on a busy machine.
    pub best_ns_per_frame: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// All frames from sockets, then each kind.
    pub kinds: Vec<KindCost>,
    pub longest_call_ns: u64,
    pub memory_high_water_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExchangeReport {
    pub exchange: String,
    pub checks: Vec<Check>,
    pub cost: Option<Cost>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub version: u32,
    /// `name@version+digest`, or the file where the component cannot be loaded.
    pub adapter: String,
    pub digest: String,
    pub contract: String,
    /// Version that it is to replace in running edges.
    pub against: Option<String>,
    pub golden: Option<String>,
    pub passed: bool,
    pub checks: Vec<Check>,
    pub exchanges: Vec<ExchangeReport>,
}

impl Report {
    pub fn all(&self) -> impl Iterator<Item = (Option<&str>, &Check)> {
        let whole = self.checks.iter().map(|check| (None, check));
        let each = self
            .exchanges
            .iter()
            .flat_map(|report| report.checks.iter().map(|check| (Some(report.exchange.as_str()), check)));
        whole.chain(each)
    }

    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// The table for people, with the causes below each check that failed.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(text, "adapter {}, contract {}", self.adapter, self.contract);
        let golden = self.golden.as_deref().unwrap_or("none");
        let _ = writeln!(text, "golden frames: {golden}");
        if let Some(against) = &self.against {
            let _ = writeln!(text, "to replace: {against}");
        }
        text.push('\n');
        table(&mut text, &self.checks);
        for exchange in &self.exchanges {
            let _ = writeln!(text, "\n{}", exchange.exchange);
            table(&mut text, &exchange.checks);
            if let Some(cost) = &exchange.cost {
                cost.write(&mut text);
            }
        }
        let count = |outcome| self.all().filter(|(_, check)| check.outcome == outcome).count();
        let (passed, failed, skipped) =
            (count(CheckOutcome::Passed), count(CheckOutcome::Failed), count(CheckOutcome::Skipped));
        let _ = writeln!(text, "\n{passed} passed, {failed} failed, {skipped} skipped");
        text
    }
}

fn table(text: &mut String, checks: &[Check]) {
    for Check { id, promise, outcome, detail, causes, more_causes } in checks {
        let _ = writeln!(text, "  {:<8} {id:<13} {promise}", outcome.as_str());
        if !detail.is_empty() {
            let _ = writeln!(text, "  {:<8} {:<13} {detail}", "", "");
        }
        for cause in causes {
            let _ = writeln!(text, "      - {}", cause.replace('\n', "\n        "));
        }
        if *more_causes > 0 {
            let _ = writeln!(text, "      - and {more_causes} more");
        }
    }
}

impl Cost {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "  cost of a frame   frames  bytes      ns  frames/s");
        for KindCost { kind, frames, bytes_per_frame, ns_per_frame, .. } in &self.kinds {
            let per_second = 1_000_000_000_u64.checked_div(*ns_per_frame).unwrap_or_default();
            let _ = writeln!(
                text,
                "    {kind:<16}{frames:>6} {bytes_per_frame:>6} {ns_per_frame:>7} {per_second:>9}"
            );
        }
        let (call, memory) = (self.longest_call_ns / 1_000, self.memory_high_water_bytes / 1_024);
        let _ = writeln!(text, "    longest call {call} us, memory {memory} KiB");
    }
}

/// Causes that are listed; more are counted.
const CAUSES_MAX: usize = 8;

/// Longest cause in bytes: a cause may quote what an adapter or a venue wrote.
const CAUSE_BYTES: usize = 1_200;

#[derive(Debug)]
pub(crate) struct Findings {
    id: &'static str,
    promise: &'static str,
    causes: Vec<String>,
    more: u64,
}

impl Findings {
    pub(crate) fn new(id: &'static str, promise: &'static str) -> Self {
        Findings { id, promise, causes: Vec::new(), more: 0 }
    }

    pub(crate) fn cause(&mut self, cause: impl Into<String>) {
        if self.causes.len() >= CAUSES_MAX {
            self.more += 1;
            return;
        }
        let mut cause = cause.into();
        if cause.len() > CAUSE_BYTES {
            let end = (0..=CAUSE_BYTES).rev().find(|end| cause.is_char_boundary(*end)).unwrap_or_default();
            cause.truncate(end);
            cause.push_str(" ...");
        }
        self.causes.push(cause);
    }

    /// True when further causes would only be counted.
    pub(crate) fn is_full(&self) -> bool {
        self.causes.len() >= CAUSES_MAX
    }

    pub(crate) fn done(self, detail: impl Into<String>) -> Check {
        let outcome = if self.causes.is_empty() { CheckOutcome::Passed } else { CheckOutcome::Failed };
        self.check(outcome, detail.into())
    }

    /// The promise could not be checked; failed when there is a cause all the same.
    pub(crate) fn skipped(self, reason: impl Into<String>) -> Check {
        let outcome = if self.causes.is_empty() { CheckOutcome::Skipped } else { CheckOutcome::Failed };
        self.check(outcome, reason.into())
    }

    fn check(self, outcome: CheckOutcome, detail: String) -> Check {
        let Findings { id, promise, causes, more } = self;
        Check { id, promise, outcome, detail, causes, more_causes: more }
    }
}
