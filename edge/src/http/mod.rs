//! The edge's HTTP pages. They only read.

mod coverage;
mod health;
mod matrix;
mod metrics;
mod serve;
mod state;
mod values;

pub use serve::{Bound, bind};
pub use state::EdgeState;
