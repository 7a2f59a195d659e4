//! What this edge can say of each window of receive time: what the broker stored, what is missing, and why.

mod auditor;
mod cell;
mod gaps;
mod outbox;
mod sender;
mod streams;
mod window;

pub use auditor::{AuditOrigin, AuditStatus, Auditor};
pub use cell::{Settled, Settlement};
pub use gaps::{Hole, Standing, time_of_day};
pub use sender::AuditSender;
pub use streams::{NO_STREAM, StreamTable};
pub use window::{FeedCounts, Telling};
