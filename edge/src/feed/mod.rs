//! One feed: its start, its supervision, its pipeline.

mod context;
mod follow;
mod listing;
mod online;
mod parts;
mod pipeline;
mod positions;
mod progress;
mod remark_log;
mod set;
mod sources;
mod status;
mod supervise;
mod version;

pub use context::{EdgeContext, FeedContext, FeedSetup, FrameObserver, socket_options};
pub use follow::{LISTING_CHANGES, PartSet, run_feed};
pub use listing::{FeedListing, ListingReader, ListingReaders, listed_instruments};
pub use online::{OnlineCheck, check_online};
pub use parts::{FeedRoster, InstrumentKey, key_of};
pub use pipeline::{Pipeline, PipelineParts, SILENCE_HINTS, invalid_cause};
pub use positions::FeedPositions;
pub use progress::{HangingPipelines, PipelineProgress, PipelineTimes};
pub use remark_log::{FEED_ERRORS, UNUSABLE_ANSWERS, ignored_reasons};
pub use set::{FeedSet, PreparedFeeds, SelectedChange};
pub use sources::{PollReport, SourceMap};
pub use status::{FeedPhase, FeedReport, FeedStatus};
pub use supervise::PIPELINE;
pub use version::{SwitchedVersion, VersionCommand, VersionMailbox};
