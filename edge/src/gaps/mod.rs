//! Gaps of a feed as its pipeline sees them, with cause and evidence; reported to the audits.

mod backfill;
mod evidence;
mod hole;
mod horizon;
mod monitor;
mod positions;

pub use backfill::{BACKFILL_OUTCOMES, Backfill};
pub use evidence::IncidentKind;
pub use hole::BackfilledHole;
pub use monitor::GapMonitor;
pub use positions::{DeliveryState, TradePositions};
