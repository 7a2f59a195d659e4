//! The queue between pipelines and publisher, in memory. With a journal on disk ([`EventJournal`]) what does not fit is sent later from
//! there, and survives the process.

mod lanes;
mod memory;
mod pending_seconds;
mod record;

pub use memory::{AbandonedRecords, MemoryQueue, QueueLimits};
pub use record::{
    AppendResult, Confirmation, DiscardQueue, EventJournal, EventQueue, EventRecord, JournalPosition,
    QueueEntry, QueueLane, QueuePosition, QueueStatus, StoredRecord,
};
