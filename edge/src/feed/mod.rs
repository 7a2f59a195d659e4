//! One feed: its start, its supervision, its pipeline.

#[cfg(test)]
mod chain;
mod context;
#[cfg(test)]
pub(crate) mod fixtures;
mod follow;
mod listing;
mod listing_changes;
mod observer;
mod online;
mod opened;
mod parts;
mod pipeline;
mod positions;
mod progress;
mod ranking;
mod raw_tap;
mod remark_log;
mod selection;
mod set;
mod sources;
mod status;
mod supervise;
mod version;

pub use context::{EdgeContext, FeedContext, FeedSetup, socket_options};
pub use follow::{PartSet, run_feed};
pub use listing::{FeedListing, ListingReader, ListingReaders, listed_instruments};
pub use listing_changes::LISTING_CHANGES;
pub use observer::FrameObserver;
pub use online::{OnlineCheck, check_online};
pub use opened::PartStart;
pub use parts::{FeedRoster, InstrumentKey, RankedMarket, StreamMemories, key_of};
pub use pipeline::{Pipeline, PipelineParts, SILENCE_HINTS, invalid_cause};
pub use positions::FeedPositions;
pub use progress::{HangingPipelines, PipelineProgress, PipelineTimes};
pub use remark_log::{FEED_ERRORS, UNUSABLE_ANSWERS, ignored_reasons};
pub use set::{AppliedChange, FeedSet, PreparedFeeds};
pub use sources::{PollReport, SourceMap};
pub use status::{FeedPhase, FeedReport, FeedStatus, InstrumentEnd};
pub use supervise::PIPELINE;
pub use version::{SwitchedVersion, VersionCommand, VersionMailbox};
