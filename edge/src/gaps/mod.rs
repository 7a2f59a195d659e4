//! Gaps of a feed as its pipeline sees them, with cause and evidence; reported to the audits.

mod evidence;
mod monitor;

pub use evidence::IncidentKind;
pub use monitor::GapMonitor;
