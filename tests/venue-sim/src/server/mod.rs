//! Network: listener, HTTP, WebSocket sessions.

mod http;
mod listener;
mod session;

pub use http::Service;
pub use listener::{acceptor, run as run_listener};
