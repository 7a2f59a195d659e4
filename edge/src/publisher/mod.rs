//! From the journal to JetStream: pipelined, bounded, every acknowledgement awaited.

mod answer;
mod inflight;
mod link;
mod nats;

pub(crate) use answer::Answer;
pub use link::{Link, connect};
pub use nats::{Drained, Publisher};
