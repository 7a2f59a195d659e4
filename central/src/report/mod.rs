//! The integrity report: what can be said of the data, and why.
//!
//! `sources` asks, each question with its own time limit; `heat` adds up; `rules` judge, and know nothing of where facts come from;
//! `compose` writes the `document`. A source that does not answer is named, and what it would have said is "cannot tell".

mod bins;
mod compose;
pub mod document;
mod facts;
mod flight;
pub mod grid;
mod heat;
pub mod rules;
mod scope;
pub mod sources;
pub mod terminal;

pub use crate::time::Time;
pub use compose::{compute, exit_code, status};
pub use flight::{Busy, Flights};
pub use scope::{BadWish, Scope, Wish};
pub use sources::Sources;
