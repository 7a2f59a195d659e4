//! The queue between pipelines and publisher. In memory it does not survive the process; a journal on disk fits behind the same trait.

mod fifo;
mod memory;
mod record;

pub use memory::{MemoryQueue, QueueLimits};
pub use record::{
    AppendResult, DiscardQueue, EventQueue, EventRecord, QueueEntry, QueuePosition, QueueStatus,
};
