//! What the edge tells about itself over HTTP.

mod cells;
mod coverage;
mod health;
mod refresh;
mod serve;
mod state;

pub use serve::{Bound, bind};
pub use state::EdgeState;
