//! Playing recordings: frames at their pace, REST answers of their time.

mod load;
pub mod times;

pub use load::{RecordedTrade, Recording, RecordingError};
