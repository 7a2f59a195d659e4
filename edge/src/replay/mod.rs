//! Recordings through adapter and order books, without a network: the command `replay`.

mod engine;
mod frames;
mod recorded_answers;
mod recording;

pub use engine::{ReplayOptions, parse_time, replay};
pub use frames::{FrameReplay, ReplayCounts, ReplaySetup};
pub use recording::Recordings;
