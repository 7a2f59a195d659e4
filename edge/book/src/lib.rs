//! Order-book engine: exact levels, the venue's sequence rule, and the way from a snapshot to a live book.
//! It does no I/O and reads no clock: times are arguments.
//!
//! States: WAIT_SNAPSHOT buffers deltas; SYNCING has a snapshot and waits for the first delta that bridges
//! to it; LIVE applies every update and is published. A gap (a hole in the sequence, a failed checksum, or
//! a book crossed for longer than [`BookLimits::crossed_ns`]) discards the book, increments its epoch and
//! asks for a snapshot.
//!
//! Between two views of one epoch no update is missing, as far as the venue's sequence can show. An
//! unrequested snapshot (an overlapping connection, a restarted numbering) replaces a LIVE book. The epoch
//! stays only if the snapshot has the same id and levels, has the next id, or names the book's id as its
//! predecessor. A snapshot older than the book by id and venue time is ignored. Without sequence numbers
//! every snapshot keeps the epoch; a lost connection or a failed checksum then increments it.

mod book;
mod contents;
mod ladder;
mod outcome;
mod pacing;
mod pending;
mod sequence;
mod settings;
mod side;
mod sync;
mod update;

pub use book::Book;
pub use contents::BookView;
pub use outcome::{BookAction, BookGap, BookGapCause, BookState, BookStats, ResyncReason, UpdateOutcome};
pub use pacing::{PublishGate, ResyncBackoff};
pub use settings::{BookLimits, BookSettings, Checksum, SequenceRule, SnapshotSource};
pub use update::{BookUpdate, Change, MAX_SCALE, UpdateError};
