//! The command `replay`: recordings through adapter and order books, without a network.

mod engine;
mod recording;
mod request_match;

pub use engine::{Replay, ReplayOptions};
