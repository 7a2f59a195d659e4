//! One feed: its start, its supervision, its pipeline.

mod context;
mod pipeline;
mod polls;
mod remark_log;
mod sources;
mod startup;
mod status;
mod supervise;

pub use context::{EdgeContext, FeedContext, FrameObserver};
pub use pipeline::{Pipeline, PipelineParts};
pub use polls::PollReport;
pub use sources::SourceMap;
pub use startup::{StartedFeed, contract_feed, listed_instruments};
pub use status::{FeedPhase, FeedReport, FeedStatus};
pub use supervise::run_feed;
