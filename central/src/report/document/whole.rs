//! The report as a whole.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    BrokerStream, Finding, HeatMap, LeaseState, LostMessages, ReportVerdict, ReportedGap, SchemaReport,
    ServerState, TableReport, TruncatedList, Unanswered, VenueState, WindowCounts, WorstWindow,
};
use crate::report::{ReportScope, Time};

/// Version of the document. Fields may be added within a version; none is removed or changes its meaning.
pub const VERSION: u32 = 1;

/// Integrity report of a period.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Report {
    /// Version of this form. Fields may be added within a version; none is removed or changes its meaning.
    pub version: u32,
    pub generated_at: Time,
    /// Duration of the computation.
    pub took_ms: u64,
    pub scope: ReportScope,
    /// Overall verdict.
    pub verdict: ReportVerdict,
    /// The verdict's main reason in one sentence.
    pub summary: String,
    /// All findings, the most severe first.
    pub findings: Vec<Finding>,
    /// Sources that did not answer; whatever depends on them is unknown.
    pub unanswered: Vec<Unanswered>,
    /// Windows of all streams by state.
    pub windows: WindowCounts,
    pub tables: Vec<TableReport>,
    /// Newest data by venue and data type.
    pub coverage: Vec<VenueState>,
    /// Windows by stream and time.
    pub heat_map: HeatMap,
    /// Windows that are not verified: mismatches first, then the newest.
    pub worst_windows: TruncatedList<WorstWindow>,
    /// Gaps that edges detected, the newest first.
    pub gaps: TruncatedList<ReportedGap>,
    /// Messages that the broker discarded before they were stored, the newest first.
    pub losses: TruncatedList<LostMessages>,
    /// Messages refused for their content, by reason.
    pub dead_letters: Vec<DeadLetters>,
    /// Tables and streams against their definitions; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaReport>,
    /// Streams and consumers.
    pub broker: Vec<BrokerStream>,
    pub clickhouse: Vec<ServerState>,
    pub leases: Vec<LeaseState>,
}

/// Refused messages of one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLetters {
    pub reason: String,
    /// Number of messages.
    pub messages: u64,
    /// Time of the newest.
    pub newest: Option<Time>,
}
