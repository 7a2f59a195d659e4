//! The integrity report: verdict, findings and their evidence for a period.
//!
//! Flow: `sources` query, each with its own timeout; `heatmap` adds up; `rules` evaluate, pure; `compose` writes the `document`. A source
//! that does not answer makes whatever depends on it unknown, never fine.

mod buckets;
mod compose;
pub mod document;
mod freshness;
mod heatmap;
mod inputs;
mod query;
mod response_cache;
pub mod rules;
pub mod sources;
pub mod terminal;
pub mod text_table;

pub use crate::time::Time;
pub use compose::{compute, exit_code, status};
pub use query::{InvalidParameter, ReportQuery, ReportScope};
pub use response_cache::{ResponseCache, TooManyRequests};
pub use sources::{SchemaCache, Sources};
