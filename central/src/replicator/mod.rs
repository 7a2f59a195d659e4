//! Replication from hot to cold, by windows of `created_at`: copy, verify by count and fingerprints, log, recheck.
//!
//! A window is copied by inserts that are stored as a whole or not at all (`copy`), so no row is ever visible twice. The
//! window log in cold keeps the digest of hot at the time of verification: the reference that later tells which side was
//! modified (`evaluate`).

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
