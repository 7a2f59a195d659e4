//! Gaps of a feed as its pipeline sees them, with cause and evidence; reported to the audits.

mod evidence;
mod incidents;
mod monitor;

pub use incidents::IncidentKind;
pub use monitor::GapMonitor;
