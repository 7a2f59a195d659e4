//! The rules, by what they look at.

mod docs;
mod names;
mod rust;
mod text;
mod translation;

pub use docs::check_docs;
pub use names::check_type_names;
pub use rust::check_rust;
pub use text::check_text;
pub use translation::check_translations;
