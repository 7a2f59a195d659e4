//! Rows in ClickHouse's `RowBinary` format, written straight from decoded events, and sent as blocks of its `Native` format.
//!
//! The names and types of a block make the server refuse rows when the table has drifted, instead of storing them askew.

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

/// Bytes of `created_at`, the last column of every row. It is written when the batch is closed.
pub const CREATED_AT_BYTES: usize = 8;
