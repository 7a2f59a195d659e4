//! What the suite found, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

/// Version of the JSON document: it rises when a field is renamed, removed or changes its meaning.
pub const VERSION: u32 = 1;

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The promise held.
    Passed,
    /// It did not.
    Failed,
    /// It could not be looked at; the detail says why.
    Skipped,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        }
    }
}

/// One promise, and whether it held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A short name that stays the same.
    pub id: &'static str,
    /// What the adapter promises.
    pub promise: &'static str,
    /// Whether it held.
    pub outcome: Outcome,
    /// How much was looked at, or why nothing was.
    pub detail: String,
    /// What is wrong: each names the frame, the field and the value.
    pub causes: Vec<String>,
    /// Causes beyond those that are listed.
    pub more_causes: u64,
}

/// What frames of one kind cost in the sandbox, in batches of 64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindCost {
    /// What they mean: `trade`, `book delta`, `ignored`, ...
    pub kind: String,
    /// How many there are.
    pub frames: u64,
    /// Their mean size.
    pub bytes_per_frame: u64,
    /// Nanoseconds a frame: the median of the rounds.
    pub ns_per_frame: u64,
    /// The same of the best round: on a machine that does other work too, the truer one.
    pub best_ns_per_frame: u64,
}

/// What the frames of an exchange cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// All that came over sockets, then each kind.
    pub kinds: Vec<KindCost>,
    /// Longest call of all checks in nanoseconds.
    pub longest_call_ns: u64,
    /// Largest memory of one instance in bytes.
    pub memory_high_water_bytes: u64,
}

/// The checks of one exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExchangeReport {
    /// Its id.
    pub exchange: String,
    /// The checks in order.
    pub checks: Vec<Check>,
    /// What its frames cost; nothing without frames.
    pub cost: Option<Cost>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// See [`VERSION`].
    pub version: u32,
    /// `name@version+digest`, or the file where the component cannot be loaded.
    pub adapter: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// The contract version it targets.
    pub contract: String,
    /// Where the golden frames are, where there are any.
    pub golden: Option<String>,
    /// Whether no check failed.
    pub passed: bool,
    /// The checks of the component as a whole.
    pub checks: Vec<Check>,
    /// The checks of each exchange.
    pub exchanges: Vec<ExchangeReport>,
}

impl Report {
    /// All checks, with the exchange where they have one.
    pub fn all(&self) -> impl Iterator<Item = (Option<&str>, &Check)> {
        let whole = self.checks.iter().map(|check| (None, check));
        let each = self
            .exchanges
            .iter()
            .flat_map(|report| report.checks.iter().map(|check| (Some(report.exchange.as_str()), check)));
        whole.chain(each)
    }

    /// The document for programs: one JSON object.
    ///
    /// # Errors
    /// None in practice: every field has a JSON form.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// The table for people, with the causes below each check that failed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(text, "adapter {}, contract {}", self.adapter, self.contract);
        let golden = self.golden.as_deref().unwrap_or("none");
        let _ = writeln!(text, "golden frames: {golden}\n");
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
            (count(Outcome::Passed), count(Outcome::Failed), count(Outcome::Skipped));
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
