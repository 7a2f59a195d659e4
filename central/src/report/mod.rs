//! The integrity report: verdict, findings and their evidence for a period.
//!
//! Flow: `sources` query, each with its own timeout; `heatmap` adds up; `rules` evaluate, pure; `compose` writes the `document`. A source
//! that does not answer makes whatever depends on it unknown, never fine.

mod completeness;
mod compose;
mod corrections;
pub mod document;
mod downtime;
mod edge_tables;
mod edges;
mod freshness;
mod heatmap;
mod inputs;
mod latency;
mod period;
mod redundancy;
mod response_cache;
pub mod rules;
pub mod sources;
pub mod system_rules;
pub mod terminal;
mod verify;

pub use crate::time::Time;
pub use compose::{compute, exit_code, status};
pub use edges::{Fleet, findings as edge_findings, fleet};
pub use inputs::Verified;
pub use period::{ReportQuery, ReportScope};
pub use response_cache::{AnswerError, ResponseCache};
pub use sources::{SchemaCache, Sources};
pub use verify::{VerifyProgress, verify};
