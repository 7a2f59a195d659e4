//! Rows of the tables, written as columns and sent as blocks of the Native format.

mod columns;
mod copy_rows;
#[cfg(test)]
pub mod defined;
mod dictionary;
mod event_rows;
mod message_rows;
mod rows;
mod values;

pub use columns::{Column, TEXT, Target, columns_of};
pub use copy_rows::{
    COPIED_EVENTS, CopiedEvent, CopyGroups, CopyRow, MOVED, WITHDRAWN, WITHDRAWN_ADDITION, encode_copies,
};
pub use event_rows::{CORRECTION_SOURCE, encode_event, encode_event_from, encode_next_event};
pub use message_rows::{CorrectedEvent, DeadLetter, encode_corrected_event, encode_dead_letter};
pub use rows::{RowWriter, RowsError, TableRows};

/// Value of `created_at` until the batch is sealed.
const CREATED_AT_UNSET: i64 = 0;
