//! One feed: its start, its pipeline, its order books.

mod books;
mod deduplicate;
mod notes;
mod pipeline;
mod router;
mod sources;
mod startup;
mod status;
mod supervise;
mod tap;

pub use books::{BookReport, Books, BooksPlan};
pub use deduplicate::TradeGap;
pub use pipeline::{Pipeline, PipelineParts};
pub use router::{Router, RouterPlan};
pub use sources::SourceMap;
pub use startup::{StartedFeed, book_settings, capability, contract_feed, listed_instruments};
pub use status::{FeedPhase, FeedStatus, TradeReport};
pub use supervise::{FeedContext, run_feed};
pub use tap::Tap;
