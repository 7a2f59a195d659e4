//! The rules, by what they look at.

mod rust;
mod text;

pub use rust::check_rust;
pub use text::check_text;
