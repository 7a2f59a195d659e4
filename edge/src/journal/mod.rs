//! The queue between the pipelines and the publisher.

mod memory;
mod record;
mod state;

pub use memory::{MemoryJournal, MemoryLimits};
pub use record::{Appended, Discard, Entry, Journal, JournalError, JournalStatus, Position, Record};
