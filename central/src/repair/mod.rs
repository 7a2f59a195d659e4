//! Mending windows that are not the same in hot and cold, and asking edges for what both lack.
//!
//! Who is right is told by the window log (see `replicator`): the side that holds what was verified is copied over the other. No row is
//! deleted of which the other side does not hold the event. A repair works under the replicator's lease.

mod ask;
mod desk;
mod mend;
mod progress;
mod work_through;

pub use desk::{Desk, repair};
pub use progress::{Fate, Journal, Outcome, Progress, Request};
