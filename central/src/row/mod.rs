//! Rows of the `RowBinary` format, encoded from events and sent as blocks of the `Native` format.
//!
//! A block carries names and types of its columns, so a table with drifted columns refuses the rows.

pub mod binary;
mod columns;
mod copy;
mod dead_letter;
#[cfg(test)]
pub mod defined;
mod dictionary;
mod encode;
mod native;
mod target;

pub use columns::{Column, TEXT, columns_of};
pub use copy::{EventCopy, encode_copy};
pub use dead_letter::{DeadLetter, encode_dead_letter};
pub use encode::encode_event;
pub use native::{NativeError, native_block};
pub use target::Target;

/// Size of `created_at`, the last column of every row, written when the batch is sealed.
pub const CREATED_AT_BYTES: usize = 8;
