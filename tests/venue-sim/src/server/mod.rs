//! Network: listener, HTTP, WebSocket sessions.

mod answer;
mod http;
mod listener;
mod rest_view;
mod session;
mod tls;

pub use http::Service;
pub use listener::run as run_listener;
pub use tls::{TlsError, acceptor};
