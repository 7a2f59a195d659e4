//! Hot to cold, by windows of `created_at`: copied, verified by count and fingerprints, logged, compared again.
//!
//! A window is copied by inserts that are there as a whole or not at all (`copy`), so that at no moment a row is seen twice. The window log in
//! cold keeps what hot held when both sides were the same: the reference that later tells which side was changed (`judge`). Data goes one
//! way: `run` -> `worker` -> `recheck`, `remove` -> `settle` -> `replicate` -> `known`, `work` -> `copy`, `log` -> `side`.

mod copy;
mod digest;
mod error;
mod evaluate;
mod late_duplicates;
mod queries;
mod recheck;
mod reconcile;
mod remove;
mod replicate;
mod row_diff;
mod run;
mod table_spec;
mod time_range;
mod window_log;
mod window_ops;
mod worker;

pub use copy::{Copier, Direction};
pub use digest::WindowDigest;
pub use error::CopyError;
pub use evaluate::WindowCondition;
pub use queries::{Endpoint, HotCold};
pub use reconcile::EvaluatedWindow;
pub use row_diff::RowDiff;
pub use run::{LEASE, replicate};
pub use table_spec::TableSpec;
pub use time_range::{TimeRange, align};
pub use window_log::{LoggedWindow, WindowLog, WindowState};
pub use window_ops::{CopyContext, WindowOps};
