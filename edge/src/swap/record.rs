//! History of the changes of adapters.

use std::collections::BTreeMap;

use marketprism_adapter_host::Differences;
use marketprism_schema::{AdapterSwap, ChangeKind, ChangeOutcome, EdgeChange};
use marketprism_service::clock;
use serde::{Deserialize, Serialize};

use crate::telemetry::labels;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

labels! {
    /// Step of a change that runs, or at which it ended.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    SwapStep {
        Signature = "signature",
        Compile = "compile",
        /// Contract version, imports, description.
        Contract = "contract",
        Golden = "golden",
        /// Running feeds of the adapter.
        Feeds = "feeds",
        Instruments = "instruments",
        Plan = "plan",
        Shadow = "shadow",
        Switch = "switch",
        Probation = "probation",
        Done = "done",
    }
}

labels! {
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    SwapOutcome {
        Running = "running",
        /// The new version runs, and runs after a restart.
        Promoted = "promoted",
        /// The new version never ran.
        Refused = "refused",
        /// The earlier version runs again.
        RolledBack = "rolled_back",
        /// The edge stopped before the end: the earlier version runs after the restart, and the new one may be tried again.
        Stopped = "stopped",
    }
}

/// Differences of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedDifferences {
    pub frames: u64,
    pub examples: Vec<RecordedExample>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedExample {
    pub frame: String,
    pub running: String,
    pub new: String,
}

/// Source of changes that central wants; the wish follows.
const WISH: &str = "promotion ";

/// Reason of a change that returned to the version before.
pub(super) const RETURNED: &str = "by request";

/// One change of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapRecord {
    pub number: u64,
    /// Name of the adapter, once it is known.
    pub adapter: Option<String>,
    /// `http`, `rollback`, `promotion` and central's wish, or the file in the watched folder.
    pub source: String,
    /// Seconds since 1970.
    pub started: i64,
    pub ended: Option<i64>,
    pub step: SwapStep,
    pub outcome: SwapOutcome,
    /// Reason of a refusal or rollback.
    pub reason: Option<String>,
    /// Id of the version that ran before.
    pub from: Option<String>,
    /// Id of the new version, once it is known.
    pub to: Option<String>,
    /// SHA-256 of the new component.
    pub digest: String,
    pub accepted: Vec<String>,
    /// Parts of feeds on trial.
    pub parts: usize,
    pub shadow_frames: u64,
    pub probation_frames: u64,
    pub differences: BTreeMap<String, RecordedDifferences>,
    /// Time in which each pipeline took no frame, microseconds.
    pub pauses_us: Vec<u64>,
}

impl SwapRecord {
    pub fn new(number: u64, source: &str, digest: String, accepted: Vec<String>, now: i64) -> Self {
        Self {
            number,
            adapter: None,
            source: source.to_owned(),
            started: now,
            ended: None,
            step: SwapStep::Signature,
            outcome: SwapOutcome::Running,
            reason: None,
            from: None,
            to: None,
            digest,
            accepted,
            parts: 0,
            shadow_frames: 0,
            probation_frames: 0,
            differences: BTreeMap::new(),
            pauses_us: Vec::new(),
        }
    }

    /// Its entry in the audits.
    pub(super) fn change(&self) -> EdgeChange {
        let outcome = match self.outcome {
            SwapOutcome::Running => ChangeOutcome::Running,
            SwapOutcome::Promoted => ChangeOutcome::Promoted,
            SwapOutcome::Refused => ChangeOutcome::Refused,
            SwapOutcome::RolledBack => ChangeOutcome::RolledBack,
            SwapOutcome::Stopped => ChangeOutcome::Stopped,
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        EdgeChange {
            id: format!("adapter-{}", self.number),
            at: self.started.saturating_mul(NANOS_PER_SECOND).max(1),
            kind: ChangeKind::Adapter,
            subject: text(&self.adapter),
            why: self.source.clone(),
            from: text(&self.from),
            to: text(&self.to),
            outcome,
            cause: self.reason.as_ref().map(|reason| format!("{}: {reason}", self.step.as_str())),
            digest: (!self.digest.is_empty()).then(|| self.digest.clone()),
        }
    }

    /// Its form in the heartbeat.
    pub fn reported(&self) -> AdapterSwap {
        AdapterSwap {
            number: self.number,
            adapter: self.adapter.clone(),
            source: self.source.clone(),
            digest: self.digest.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            step: self.step.as_str().to_owned(),
            outcome: self.outcome.as_str().to_owned(),
            cause: self.reason.clone(),
            started: self.started,
            ended: self.ended,
        }
    }

    /// The process ended before the change did.
    pub(super) fn end_with_process(&mut self) {
        if self.outcome == SwapOutcome::Running {
            self.outcome = SwapOutcome::Stopped;
            self.ended = Some(clock::now_ns() / NANOS_PER_SECOND);
            self.reason = Some("the edge was killed".to_owned());
        }
    }

    /// No running feed had an adapter of this name.
    pub(super) fn had_no_feed(&self) -> bool {
        self.step == SwapStep::Feeds && self.outcome != SwapOutcome::Running && self.from.is_none()
    }

    pub(super) fn source_of_wish(wish: &str) -> String {
        format!("{WISH}{wish}")
    }

    /// Central wants it.
    pub(super) fn is_of_wish(&self) -> bool {
        self.source.starts_with(WISH)
    }

    /// It returned to the version before, as it should.
    pub(super) fn is_return(&self) -> bool {
        self.reason.as_deref() == Some(RETURNED)
    }

    /// Something else than the component kept it from its trial.
    pub(super) fn is_to_be_repeated(&self) -> bool {
        self.outcome == SwapOutcome::Stopped || self.had_no_feed()
    }

    pub fn set_differences(&mut self, differences: &Differences) {
        let recorded = differences.iter().map(|(kind, found)| {
            let examples = found.examples.iter().map(|example| RecordedExample {
                frame: example.frame.clone(),
                running: example.running.clone(),
                new: example.new.clone(),
            });
            let of_kind = RecordedDifferences { frames: found.frames, examples: examples.collect() };
            (kind.as_str().to_owned(), of_kind)
        });
        self.differences = recorded.collect();
    }
}
