//! Messages of JetStream become rows in hot storage, every event once.
//!
//! **Nothing is lost**: a message is acknowledged only after the insert that holds its row has succeeded; a message refused for its
//! content, after its bytes are in the dead-letter table. Until then the broker keeps it and delivers it again. What the broker itself
//! discards before it is stored is found by its sequence and named in `losses` (`progress`, `confirm`, `losses`).
//!
//! **Every message ends as exactly one of three**: the row of its event; a row of `copies`, when another message brought the event; a row of
//! `dead_letters`. A message that is delivered again is the same message (same sequence, same time of receipt), not a copy.
//!
//! **Nothing is doubled.** An event may come again because an acknowledgement got lost, because a central died between insert and
//! acknowledgement, or because somebody published it again. Means, each for what the others do not see:
//! 1. the rows of a batch and its deduplication token are fixed before the first try, so an insert whose answer got lost is repeated
//!    without effect (`batch`);
//! 2. ids in open batches and a bounded number of ids stored recently are kept in memory with their messages (`recent`, `waiting`);
//! 3. what memory and the broker's window cannot rule out is looked for in hot by event id before it is inserted (`origin`, `lookup`);
//! 4. one central at a time takes a stream: the holder of its lease (`seat`). Two copies of one event as two messages in two centrals
//!    could both be looked for, not found, and inserted: no lookup sees the insert that another process has under way;
//! 5. ReplacingMergeTree makes one row of copies that got past all of these, at its next merge.
//!
//! **Why no insert of a former holder is overlooked.** A holder begins an insert, and sends each piece of it, only while its lease lasts
//! long enough for the server to give it up in time (`INSERT_MARGIN`, `PIECE_MARGIN`); when the lease is lost everything under way is
//! dropped, and the connection with it, a second before somebody else may have the lease.
//! A server drops an insert whose end does not come: at once when the connection breaks, after `INSERT_STALL` when the client stands still
//! (a process that was stopped and goes on later). What was sent whole may still be at work on the server: so a new holder first asks the
//! server for inserts of its stream, by their mark, and waits until there are none. A ClickHouse that is slower than the lease costs time,
//! not rows: the lease is renewed while the insert goes on, and a new holder waits for its end, at most `max_execution_time`. A user that may
//! not ask for running inserts makes the holder wait for twice the insert timeout instead. How long the broker waits for an
//! acknowledgement decides only when a message comes again, never whether its event is doubled.
//!
//! Several centrals share the work by holding different streams: one that has none asks one that has two, which flushes and hands over.
//!
//! **Memory is bounded**: `batch.max_in_flight` batches of `batch.max_bytes`, one open batch a table, and the messages asked for ahead.
//! When ClickHouse does not take rows, no more messages are taken, and those at hand are kept alive at the broker.

mod ack;
mod batch;
mod consumer_stats;
mod dedup;
mod duplicate_risk;
mod gap_scan;
mod history;
mod insert;
mod insert_guard;
mod insert_task;
mod lookup;
mod losses;
mod message;
mod open_batches;
mod pending_duplicates;
mod progress;
mod recent;
mod stream_owner;
mod stream_progress;
mod subscription;
mod worker;

pub use ack::acknowledge;
pub use consumer_stats::poll;
pub use history::read_history;
pub use message::{Delivery, header};
pub use stream_owner::serve;
pub use subscription::open as subscribe;
