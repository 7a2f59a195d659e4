//! Gaps of a feed as its pipeline sees them, with their causes; handed to the audits.

mod evidence;
mod incidents;
mod monitor;

pub use incidents::{Incident, IncidentKind};
pub use monitor::GapMonitor;
