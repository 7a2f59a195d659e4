//! The command `replay`: recordings through adapter and order books, without a network.

mod engine;
mod recording;

pub use engine::{Replay, ReplayOptions};
