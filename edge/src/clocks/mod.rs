//! Clocks: the offset of this machine's clock from that of each venue, and steps of it. Both are reported; times of events are never
//! corrected by them.

mod steps;
mod venues;

pub use steps::{StepDetector, watch_steps};
pub use venues::{FeedClock, MeasuredClock, VenueClocks, nanos};
