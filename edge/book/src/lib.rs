//! The order-book engine: exact levels, the venue's sequence rule, and the way from a snapshot to a live
//! book.
//!
//! It is pure: no input or output, no clock. Times come with the updates or as arguments, in the units that
//! the names give.
//!
//! A book is in one of three states. In WAIT_SNAPSHOT deltas are buffered. In SYNCING the snapshot is there
//! and the first delta that bridges to it is awaited. In LIVE every update is applied, and only then there is
//! something to publish. A gap throws the book away, bumps its epoch and asks the caller for a new starting
//! state. Three things show a gap: a hole in the venue's sequence, a checksum that the book does not match, and
//! a best bid that is not below the best ask for longer than [`BookLimits::crossed_ns`].
//!
//! The epoch tells consumers when to start anew: between two views of one epoch no update is missing, as far as
//! the venue's sequence can show. A snapshot that nobody asked for (an overlapping connection, a venue that starts
//! anew) replaces a LIVE book; it bumps the epoch unless it continues the book: it shows the same id with the same
//! levels, or the next id, or names the book's id as its predecessor. One that the book has passed, by id and by
//! the venue's clock, is ignored. Where updates carry no numbers every snapshot continues the book, since nothing
//! says otherwise; there a lost connection or a wrong checksum bumps the epoch.

mod backoff;
mod base;
mod book;
mod checksum;
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
pub use outcome::{Action, Gap, GapCause, Outcome, ResyncReason, State};
pub use settings::{BookLimits, BookSettings, Checksum, SequenceRule, SnapshotSource};
pub use stats::BookStats;
pub use update::{BookUpdate, Change, MAX_SCALE, UpdateError};
pub use view::BookView;
