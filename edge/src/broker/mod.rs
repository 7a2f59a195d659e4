//! The connection to the broker, its replies, and requests that come over it.

mod connection;
mod repair;
mod reply;

pub use connection::{BrokerLink, connect};
pub use repair::answer_requests;
pub(crate) use reply::PublishReply;
