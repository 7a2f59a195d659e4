//! Per window of receive time and stream: what the broker stored, what is missing, and why.

mod auditor;
mod open_gap;
mod streams;
mod tally;
mod window;

pub use auditor::{AuditOrigin, AuditStatus, Auditor};
pub use open_gap::{OpenGap, TradeIdGap, time_of_day};
pub use streams::{NO_STREAM, StreamTable};
pub use tally::{PublishOutcome, RecordOutcome};
pub use window::{FeedCounts, GapEvent};
