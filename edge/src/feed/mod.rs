//! One feed: its start, its supervision, its pipeline.

mod context;
mod pipeline;
mod remark_log;
mod sources;
mod status;
mod supervise;

pub use context::{EdgeContext, FeedContext, FrameObserver};
pub use pipeline::{Pipeline, PipelineParts};
pub use sources::{PollReport, SourceMap};
pub use status::{FeedPhase, FeedReport, FeedStatus};
pub use supervise::{listed_instruments, run_feed};
