//! The order-book engine: exact levels, the venue's sequence rule, and the way from a snapshot to a live
//! book.
//!
//! It is pure: no input or output, no clock. Times come with the updates or as arguments, in the units that
//! the names give.
//!
//! A book is in one of three states. In WAIT_SNAPSHOT deltas are buffered. In SYNCING the snapshot is there
//! and the first delta that bridges to it is awaited. In LIVE every update is applied, and only then there is
//! something to publish. A gap throws the book away, bumps its epoch and asks the caller for a new starting
//! state.

mod backoff;
mod base;
mod book;
mod gate;
mod ladder;
mod outcome;
mod pending;
mod refresh;
mod sequence;
mod settings;
mod side;
mod stats;
mod sync;
mod update;
mod view;

pub use backoff::ResyncBackoff;
pub use book::Book;
pub use gate::PublishGate;
pub use outcome::{Action, Gap, Outcome, ResyncReason, State};
pub use settings::{BookLimits, BookSettings, SequenceRule, SnapshotSource};
pub use stats::BookStats;
pub use update::{BookUpdate, Change, MAX_SCALE, UpdateError};
pub use view::BookView;
