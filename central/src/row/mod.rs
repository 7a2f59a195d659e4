//! Rows of the `RowBinary` format, encoded from events and sent as blocks of the `Native` format.
//!
//! A block carries names and types of its columns, so a table with drifted columns refuses the rows.

pub mod binary;
mod columns;
#[cfg(test)]
pub mod defined;
mod encode;
mod native;

pub use columns::{COPY, Column, TEXT, Target, columns_of};
pub use encode::{
    CORRECTION_SOURCE, CorrectedEvent, DeadLetter, EventCopy, MOVED, WITHDRAWN, WITHDRAWN_ADDITION,
    encode_copy, encode_corrected_event, encode_dead_letter, encode_event, encode_event_from,
};
pub use native::{NativeError, native_block};

/// Size of `created_at`, the last column of every row, written when the batch is sealed.
pub const CREATED_AT_BYTES: usize = 8;
