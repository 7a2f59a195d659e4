//! The queue between the pipelines and the publisher.

mod memory;
mod pending;
mod record;
mod state;

pub use memory::{MemoryJournal, MemoryLimits};
pub use record::{Appended, Discard, Entry, Journal, JournalError, JournalStatus, Position, Record};
