//! A recording through an adapter and the order-book engine, without a network: normalized events as JSON lines.

mod answers;
mod engine;
mod recording;
mod targets;

pub use engine::{Replay, ReplayOptions};
