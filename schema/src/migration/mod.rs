//! The tables, as numbered steps. `sql/` is their one source; its README tells the form of a file.

mod layout;
mod list;
mod source;

pub use layout::{DatabaseKind, Layout};
pub use list::Migration;
pub use source::Statement;
