//! Network: listener, HTTP, WebSocket sessions, subscriptions.

mod answer;
mod connection;
mod counters;
mod http;
mod hub;
mod listener;
mod rest_view;
mod session;
mod socket;
mod tls;
mod weight;
mod window;

pub use connection::{Connection, ConnectionView, End};
pub use counters::{Counters, CountersView};
pub use http::Service;
pub use hub::{Hub, Way, close_of, offer};
pub use listener::{ListenerControl, run as run_listener};
pub use tls::{TlsError, acceptor};
pub use weight::{BanRules, Verdict, Weights};
pub use window::Rolling;
