//! One feed: its start, its pipeline, its order books.

mod asked;
mod book_plan;
mod books;
mod deduplicate;
mod incidents;
mod notes;
mod pipeline;
mod polls;
mod router;
mod sources;
mod startup;
mod status;
mod supervise;
mod tap;
mod watch;

pub use asked::{Asked, offers, wants};
pub use book_plan::{BookPlan, BooksPlan};
pub use books::{BookReport, Books};
pub use deduplicate::{ForgottenHoles, TradeGap};
pub use incidents::{Incident, IncidentKind};
pub use pipeline::{Pipeline, PipelineParts};
pub use polls::PollReport;
pub use router::{Router, RouterPlan};
pub use sources::SourceMap;
pub use startup::{StartedFeed, capability, contract_feed, listed_instruments};
pub use status::{FeedPhase, FeedReport, FeedStatus, TradeReport};
pub use supervise::{FeedContext, run_feed};
pub use tap::Tap;
pub use watch::Watch;
