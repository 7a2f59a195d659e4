//! Delivery of frames to connections, with their limits and counters. Knows no exchange.

mod connection;
mod counters;
mod hub;
mod socket;
mod weight;
mod window;

pub use connection::{Connection, ConnectionView, End, Out};
pub use counters::{Counters, CountersView};
pub use hub::{DeliveryContext, Hub, close_of, offer};
pub use socket::{Socket, SocketSwitch};
pub use weight::{BanRules, Verdict, Weights};
pub use window::Rolling;
