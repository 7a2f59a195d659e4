//! The report as JSON: versioned and stable. The OpenAPI document is generated from these types.

mod codes;
mod findings;
mod gaps;
mod streams;
mod systems;
mod tables;
mod whole;

pub use codes::FindingCode;
pub use findings::{Finding, Level, ReportVerdict, TruncatedList, Unanswered};
pub use gaps::{LostMessages, ReportedGap};
pub use streams::{CELL, GapCount, HeatMap, StreamState, TableRow, WindowCounts, WorstWindow};
pub use systems::{
    BrokerConsumer, BrokerStream, Disk, LeaseState, SchemaDifference, SchemaReport, ServerState,
};
pub use tables::{TableContents, TableReport, VenueState};
pub use whole::{DeadLetters, Report, VERSION};
