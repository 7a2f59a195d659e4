//! Per window of receive time and stream: what the broker stored, what is missing, and why. Nothing here talks to the broker.

mod auditor;
mod listings;
mod run_journal;
mod streams;
mod subscriptions;
mod window;

pub use auditor::{AuditOrigin, AuditStatus, Auditor};
pub use run_journal::{
    CleanStop, JournaledRun, LastingDowntime, Resumption, RunJournal, StopCause, UnsentMessage,
    encode_downtime, encode_listing,
};
pub use streams::{AuditFeed, AuditStream, StreamTable, SubscribedStream};
pub use window::{FeedCounts, GapEvent, GapSum, PublishOutcome, RecordOutcome};
