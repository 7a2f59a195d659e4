//! The repository's own rules, beyond what rustfmt and clippy can say.
//!
//! `cargo run -p marketprism-tidy` prints every place that breaks one, and fails if there is any.

mod finding;
mod rules;
mod tree;

pub use finding::Finding;
pub use rules::{check_rust, check_text};
pub use tree::{Source, sources};
