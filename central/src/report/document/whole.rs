//! The report as a whole: verdict, findings and their evidence.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    BrokerStream, EdgeTime, EvidenceCounts, FindingCode, HeatMap, LatencyReport, LeaseState, LostMessages,
    ReportedChange, ReportedCorrection, ReportedDowntime, ReportedGap, SchemaReport, ServerState,
    TableReport, VenueState, Verification, WindowCounts, WindowPercent, WorstWindow,
};
use crate::fleet::FleetEdge;
use crate::report::ReportScope;
use crate::time::{self, Time};

/// Version of the document. Fields may be added within a version; none is removed or changes its meaning.
pub const VERSION: u32 = 1;

/// Integrity report of a period.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Report {
    /// Version of this form. Fields may be added within a version; none is removed or changes its meaning.
    pub version: u32,
    pub generated_at: Time,
    pub took_ms: u64,
    pub scope: ReportScope,
    pub verdict: ReportVerdict,
    /// The verdict's main reason in one sentence.
    pub summary: String,
    /// All findings, the most severe first.
    pub findings: Vec<Finding>,
    /// Sources that did not answer; whatever depends on them is unknown.
    pub unanswered: Vec<Unanswered>,
    /// Windows of all streams by state.
    pub windows: WindowCounts,
    /// Share of each state; absent without windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows_percent: Option<WindowPercent>,
    /// Windows and rows of all streams by what proves them.
    pub evidence: EvidenceCounts,
    pub tables: Vec<TableReport>,
    /// Contents of hot and of cold by exchange, market type and data type.
    pub coverage: Vec<VenueState>,
    /// Windows by stream and time.
    pub heat_map: HeatMap,
    /// Windows that are not verified: mismatches first, then the newest.
    pub worst_windows: TruncatedList<WorstWindow>,
    /// Times in which edges collected nothing on purpose, the newest first.
    pub downtimes: Vec<ReportedDowntime>,
    /// Times in which only one of several edges collected a stream whole.
    pub alone: TruncatedList<EdgeTime>,
    /// Times in which one edge had what another one missed.
    pub filled: TruncatedList<EdgeTime>,
    /// Edges with their adapters; empty for a period that does not reach the present.
    pub edges: Vec<FleetEdge>,
    /// Changes of running edges, the newest first.
    pub changes: TruncatedList<ReportedChange>,
    /// Spans that another version of an adapter normalized again, the newest first.
    pub corrections: TruncatedList<ReportedCorrection>,
    /// Gaps that edges detected, the newest first.
    pub gaps: TruncatedList<ReportedGap>,
    /// Latencies by hop and clocks of the edges; empty without an answer.
    pub latency: LatencyReport,
    /// Messages that the broker discarded before they were stored, the newest first.
    pub losses: LossList,
    /// Messages refused for their content, by reason.
    pub dead_letters: Vec<DeadLetters>,
    /// Tables and streams against their definitions; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaReport>,
    pub broker: Vec<BrokerStream>,
    pub clickhouse: Vec<ServerState>,
    pub leases: Vec<LeaseState>,
    /// Own count of hot, cold and audits, by `integrity --verify` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

/// Refused messages of one reason.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize, Serialize, ToSchema)]
pub struct DeadLetters {
    pub reason: String,
    pub messages: u64,
    #[serde(deserialize_with = "time::optional")]
    pub newest: Option<Time>,
}

/// Overall verdict of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Verdict)]
pub enum ReportVerdict {
    /// Every closed window is verified; nothing is missing or duplicated.
    Whole,
    /// Something is missing, duplicated or different.
    NotWhole,
    /// No error is known, but not everything could be checked.
    CannotTell,
    /// As whole, except for a time in which nothing was collected on purpose.
    NotCollected,
}

impl ReportVerdict {
    pub const fn words(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::NotWhole => "not whole",
            Self::CannotTell => "cannot tell",
            Self::NotCollected => "whole except for known downtime",
        }
    }
}

/// Severity of a finding, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Makes the verdict "not whole".
    Fail,
    /// Makes the verdict "cannot tell", unless something fails.
    Unknown,
    /// Makes the verdict "whole except for known downtime", unless something fails or is unknown.
    Downtime,
    /// Needs attention; does not change the verdict.
    Warn,
    Info,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::Downtime => "downtime",
            Self::Warn => "warn",
            Self::Info => "info",
        }
    }
}

/// One reason for the verdict, or something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// Stable code: match on this, never on the text.
    pub code: FindingCode,
    pub level: Level,
    /// Object concerned: a table, a stream, `broker`, `clickhouse hot`, ...
    pub subject: String,
    /// Description for people; may be reworded in any release.
    pub text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Finding {
    pub fn new(
        code: FindingCode,
        level: Level,
        subject: impl Into<String>,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { code, level, subject: subject.into(), text: text.into(), remedy: remedy.into() }
    }
}

/// `3 windows`, `1 window`.
pub fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A source that did not answer in time; whatever depends on it is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Unanswered {
    /// The source: a server, a table, a stream.
    pub part: String,
    pub reason: String,
}

/// A list that may be truncated.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TruncatedList<T> {
    /// Number of items in all.
    pub total: u64,
    pub items: Vec<T>,
}

impl<T> Default for TruncatedList<T> {
    fn default() -> Self {
        Self { total: 0, items: Vec::new() }
    }
}

/// Losses, of which the newest are listed.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct LossList {
    /// Number of losses in all.
    pub total: u64,
    /// Messages of all losses.
    pub messages: u64,
    pub items: Vec<LostMessages>,
}
