//! History of the changes of adapters.

use std::collections::BTreeMap;

use marketprism_adapter_host::Differences;
use serde::{Deserialize, Serialize};

/// Step of a change that runs, or at which it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapStep {
    Signature,
    Compile,
    /// Contract version, imports, description.
    Contract,
    Golden,
    /// Running feeds of the adapter.
    Feeds,
    Instruments,
    Plan,
    Shadow,
    Switch,
    Probation,
    Done,
}

impl SwapStep {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Compile => "compile",
            Self::Contract => "contract",
            Self::Golden => "golden",
            Self::Feeds => "feeds",
            Self::Instruments => "instruments",
            Self::Plan => "plan",
            Self::Shadow => "shadow",
            Self::Switch => "switch",
            Self::Probation => "probation",
            Self::Done => "done",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapOutcome {
    Running,
    /// The new version runs, and runs after a restart.
    Promoted,
    /// The new version never ran.
    Refused,
    /// The earlier version runs again.
    RolledBack,
    /// The edge stopped before the end: the earlier version runs after the restart, and the new one may be tried again.
    Stopped,
}

impl SwapOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Promoted => "promoted",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
            Self::Stopped => "stopped",
        }
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

/// One change of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapRecord {
    pub number: u64,
    /// `http`, `rollback`, or the file in the watched folder.
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
            shadow_frames: 0,
            probation_frames: 0,
            differences: BTreeMap::new(),
            pauses_us: Vec::new(),
        }
    }

    /// No running feed had an adapter of this name.
    pub(super) fn had_no_feed(&self) -> bool {
        self.step == SwapStep::Feeds && self.outcome != SwapOutcome::Running && self.from.is_none()
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
