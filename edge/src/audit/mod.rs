//! Per window of receive time and stream: what the broker stored, what is missing, and why. Nothing here talks to the broker.

mod auditor;
mod gap_list;
mod streams;
mod window;

pub use auditor::{AuditOrigin, AuditStatus, Auditor};
pub use gap_list::GapSum;
pub use streams::{AuditFeed, AuditStream, StreamTable};
pub use window::{FeedCounts, GapEvent, PublishOutcome, RecordOutcome};
