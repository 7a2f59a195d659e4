//! Hot to cold, by windows of `created_at`: copied, verified by count and fingerprints, logged, compared again.
//!
//! A window is copied by inserts that are there as a whole or not at all (`copy`), so that at no moment a row is seen twice. The window log in
//! cold keeps what hot held when both sides were the same: the reference that later tells which side was changed (`judge`). Data goes one
//! way: `run` -> `worker` -> `recheck`, `remove` -> `settle` -> `replicate` -> `known`, `work` -> `copy`, `log` -> `side`.

mod copied;
mod copy;
mod diff;
mod error;
mod judge;
mod known;
mod log;
mod metrics;
mod recheck;
mod remove;
mod replicate;
mod run;
mod settle;
mod side;
mod span;
mod state;
mod work;
mod worker;

pub use copied::Copied;
pub use copy::{Copier, Direction};
pub use diff::Diff;
pub use error::CopyError;
pub use judge::Judgement;
pub use log::{Log, Logged, WindowState};
pub use metrics::ReplicationMetrics;
pub use run::{LEASE, replicate};
pub use settle::Examined;
pub use side::{Pair, Side};
pub use span::{Span, align};
pub use state::State;
pub use work::{Context, Work};
