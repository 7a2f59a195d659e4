//! One feed: its start, its supervision, its pipeline.

mod context;
mod follow;
mod listing;
mod online;
mod parts;
mod pipeline;
mod remark_log;
mod sources;
mod status;
mod supervise;

pub use context::{EdgeContext, FeedContext, FrameObserver, socket_options};
pub use follow::run_feed;
pub use listing::{FeedListing, ListingReader, listed_instruments};
pub use online::{OnlineCheck, check_online};
pub use parts::FeedRoster;
pub use pipeline::{Pipeline, PipelineParts};
pub use sources::{PollReport, SourceMap};
pub use status::{FeedPhase, FeedReport, FeedStatus};
