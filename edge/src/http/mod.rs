//! The edge's HTTP pages. They only read.

mod coverage;
mod health;
mod metrics;
mod serve;
mod state;

pub use serve::{Bound, bind};
pub use state::EdgeState;
