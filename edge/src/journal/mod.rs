//! The journal on disk: an append-only log of segments between pipelines and broker. An event leaves it when central has confirmed that
//! it is in hot, not when the broker acknowledges it; what an earlier run left is sent again under the same message ids.
//!
//! No crate keeps all of this: okaywal and raft-engine sync each commit, commitlog is not maintained, fjall rewrites its data and stops
//! after a full disk; none gives up the oldest data within a bound, or goes on behind a damaged record.

mod ages;
mod checked;
mod checkpoints;
mod confirmations;
mod earlier_audits;
mod event_state;
mod files;
mod frame;
mod index;
mod killed_runs;
mod log;
mod options;
mod positions;
mod reader;
mod recover;
mod resend;
mod segment_index;
mod shared;
mod state;
mod status;
mod syncer;
mod writer;

pub use checked::{CheckedScanner, Fields, SegmentDamage, write_checked};
pub use confirmations::follow_confirmations;
pub use files::{DiskFiles, JournalFile, JournalFiles};
pub use log::{Journal, StreamFacts};
pub use options::{JournalLimits, JournalOptions};
pub use resend::answer_requests;
pub use status::{JournalLoss, JournalStatus};
