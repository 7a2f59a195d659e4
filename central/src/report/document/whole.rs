//! The answer as a whole.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    BrokerStream, Finding, Gap, HeatMap, LeaseState, Listed, Loss, SchemaState, ServerState, TableState,
    Unanswered, VenueState, Verdict, Windows, WorstWindow,
};
use crate::report::{Scope, Time};

/// Version of this document. Fields may be added within a version; none is removed or changes its meaning.
pub const VERSION: u32 = 1;

/// What can be said of the data.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Report {
    /// Version of this form. Fields may be added within a version; none is removed or changes its meaning.
    pub version: u32,
    /// When it was computed.
    pub generated_at: Time,
    /// How long that took.
    pub took_ms: u64,
    /// What it is about.
    pub scope: Scope,
    /// What can be said of everything in the scope.
    pub verdict: Verdict,
    /// The verdict in one sentence.
    pub summary: String,
    /// What led to it, the worst first.
    pub findings: Vec<Finding>,
    /// Parts without an answer: what they would have said is not known.
    pub unanswered: Vec<Unanswered>,
    /// Windows of all streams by state.
    pub windows: Windows,
    /// Tables in hot and cold.
    pub tables: Vec<TableState>,
    /// What arrived, by venue and data type.
    pub coverage: Vec<VenueState>,
    /// Windows by stream and time.
    pub heat_map: HeatMap,
    /// Windows that are not as they should be: mismatches first, then the newest.
    pub worst_windows: Listed<WorstWindow>,
    /// Gaps that edges saw, the newest first.
    pub gaps: Listed<Gap>,
    /// Messages that the broker no longer had, the newest first.
    pub losses: Listed<Loss>,
    /// Messages refused for their content in the scope, by reason.
    pub dead_letters: Vec<DeadLetters>,
    /// Tables and streams against what is wanted; absent when they could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaState>,
    /// Streams and consumers.
    pub broker: Vec<BrokerStream>,
    /// ClickHouse servers.
    pub clickhouse: Vec<ServerState>,
    /// Who does what only one central may do at a time.
    pub leases: Vec<LeaseState>,
}

/// Refused messages of one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLetters {
    /// Why they were refused.
    pub reason: String,
    /// How many.
    pub messages: u64,
    /// The newest of them.
    pub newest: Option<Time>,
}
