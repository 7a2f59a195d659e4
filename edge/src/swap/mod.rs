//! Changes of adapters while frames flow: checks of a new version, its shadow run, the switch between two batches, probation.
//! At most one runs at a time. A refused or rolled back change loses and doubles no event.

mod checks;
mod executor;
mod fetch;
mod follow;
mod golden;
mod parts;
mod record;
mod store;
mod swaps;
mod trial;
mod watch;

pub use executor::SwapExecutor;
pub use follow::{FOLLOW_FAILURES, WishFollower};
pub use golden::pack_golden;
pub use record::{SwapOutcome, SwapRecord, SwapStep};
pub use store::resume_adapters;
pub use swaps::{AdapterSwaps, SWAP_OUTCOMES, SwapRefused};
