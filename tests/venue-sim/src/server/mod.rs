//! The network side: listener, HTTP, websocket sessions, who subscribes to what.

mod answer;
mod connection;
mod http;
mod hub;
mod listener;
mod rest_view;
mod session;
mod socket;
mod tls;
mod weight;

pub use connection::{Connection, ConnectionView, End, Out};
pub use http::{Service, serve};
pub use hub::{Counters, CountersView, Hub, Way, close_of, offer};
pub use listener::{ListenerControl, run as run_listener};
pub use socket::{Socket, SocketSwitch};
pub use tls::{TlsError, acceptor};
pub use weight::{Verdict, WeightRules, Weights};
