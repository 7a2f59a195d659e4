//! Playing recordings: frames at their pace, REST answers of their time.

mod feeder;
mod load;
mod times;

pub use feeder::play;
pub use load::{RecordedTrade, Recording, RecordingError};
