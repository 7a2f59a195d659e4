//! Repair of windows that differ between hot and cold, and requests to edges for events that both lack.
//!
//! The window log decides which side is correct: the one that still has what was verified is copied over the other. No row is deleted
//! unless the other side has its event. A repair runs under the replicator's lease.

mod fix;
mod progress;
mod request_edges;
mod run;

pub use progress::{RepairFate, RepairLog, RepairOutcome, RepairProgress, RepairQuery};
pub use run::{RepairJobs, repair};
