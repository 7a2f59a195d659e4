//! Delivery of frames to connections, with their limits and counters. Knows no exchange.

mod connection;
mod hub;
mod limits;

pub use connection::{
    Connection, ConnectionView, Counters, CountersView, End, Frame, Out, Socket, SocketSwitch,
};
pub use hub::{DeliveryContext, Hub, close_of, offer};
pub use limits::{Rolling, Verdict, Weights};
