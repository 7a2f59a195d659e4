//! The edge's HTTP pages, its status for central, and requests that change something, which need the token.

mod access;
mod adapters;
mod coverage;
mod heartbeat;
mod metrics;
mod pages;
mod series;
mod serve;
mod state;
mod status_requests;

pub use access::AccessToken;
pub use heartbeat::heartbeat;
pub use serve::{Bound, bind};
pub use state::EdgeState;
pub use status_requests::answer_status;
