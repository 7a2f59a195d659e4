//! The queue between the pipelines and the publisher.

mod fifo;
mod memory;
mod pending;
mod record;

pub use memory::{MemoryQueue, QueueLimits};
pub use record::{AppendResult, DiscardQueue, Entry, EventQueue, Position, QueueError, QueueStatus, Record};
