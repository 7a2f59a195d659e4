//! The report as JSON: versioned and stable. The OpenAPI document is generated from these types.

mod codes;
mod corrections;
mod edges;
mod latency;
mod streams;
mod systems;
mod verification;
mod whole;

pub use codes::FindingCode;
pub use corrections::{AppliedCorrection, CorrectionState, ReportedCorrection};
pub use edges::ReportedChange;
pub use latency::{EdgeClock, EdgeClockStep, HopQuantiles, LatencyReport, StreamLatency};
pub use streams::{
    CELL, EdgeTime, EvidenceCounts, GapCount, HeatMap, LostMessages, ReportedDowntime, ReportedGap,
    StreamState, TableRow, WindowCounts, WindowPercent, WorstWindow,
};
pub use systems::{
    BrokerConsumer, BrokerStream, Disk, LeaseState, SchemaDifference, SchemaReport, ServerState,
    TableContents, TableReport, TableTrouble, VenueState,
};
pub use verification::{Verification, VerifiedAudits, VerifiedTable};
pub use whole::{
    DeadLetters, Finding, Level, LossList, Report, ReportVerdict, TruncatedList, Unanswered, VERSION, count,
};
