//! The queue between pipelines and publisher. In memory it does not survive the process; a journal on disk fits behind the same trait.

mod lanes;
mod memory;
mod pending_seconds;
mod record;

pub use memory::{MemoryQueue, QueueLimits};
pub use record::{
    AppendResult, DiscardQueue, EventQueue, EventRecord, QueueEntry, QueueLane, QueuePosition, QueueStatus,
};
