//! States of order books at a time, rebuilt from their stored deltas. Nothing is shown as a state that the records do not prove.

mod document;
mod rebuild;
mod rows;

pub use document::BookVerdict;
pub use rebuild::{BookScope, book_at};
