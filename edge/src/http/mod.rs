//! The edge's HTTP pages, and its status for central. They only read.

mod access;
mod metrics;
mod pages;
mod series;
mod serve;
mod state;
mod status_requests;

pub use access::AccessToken;
pub use serve::{Bound, bind};
pub use state::EdgeState;
pub use status_requests::answer_status;
