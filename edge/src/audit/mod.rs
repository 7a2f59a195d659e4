//! Per window of receive time and stream: what the broker stored, what is missing, and why. Nothing here talks to the broker.

mod auditor;
mod changes;
mod checkpoint;
mod killed_run;
mod listings;
mod open_gap;
mod origin;
mod recovery;
mod run_journal;
mod snapshot;
mod streams;
mod subscriptions;
mod unsent;
mod window;

pub use auditor::{AuditStatus, Auditor};
pub use checkpoint::AuditCheckpoint;
pub use killed_run::{KilledRun, RecoveredAudits};
pub use origin::AuditOrigin;
pub use run_journal::{
    CleanStop, JournaledRun, LastingDowntime, Resumption, RunJournal, StopCause, UnfinishedRun,
};
pub use streams::{AuditFeed, AuditStream, StreamTable, SubscribedStream};
pub use unsent::{
    UnsentMessage, encode_changes, encode_downtime, encode_listing, encode_recovered, encode_window,
};
pub use window::{FeedCounts, GapEvent, GapSum, PublishOutcome, RecordOutcome};
