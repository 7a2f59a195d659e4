//! The edge's HTTP pages. They only read.

mod metrics;
mod pages;
mod serve;
mod state;

pub use serve::{Bound, bind};
pub use state::EdgeState;
