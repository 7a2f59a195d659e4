//! Messages of JetStream become rows in hot storage, every event once.
//!
//! **Nothing is lost**: a message is acknowledged only after the insert that holds its row has succeeded; a message refused for its
//! content, after its bytes are in the dead-letter table. Until then the broker keeps it and delivers it again.
//!
//! **Nothing is doubled.** An event may come again because an acknowledgement got lost, because central died between insert and
//! acknowledgement, or because somebody published it again. Four means, each for what the others do not see:
//! 1. the rows of a batch and its deduplication token are fixed before the first try, so an insert whose answer got lost is repeated
//!    without effect (`batch`);
//! 2. ids in open batches and a bounded number of ids stored recently are kept in memory (`recent`);
//! 3. a message that is delivered again, that a consumer made anew delivers from the start, or that reached the broker long after its edge
//!    received it, is looked for in hot by event id before it is inserted (`lookup`);
//! 4. ReplacingMergeTree makes one row of copies that got past all of these, at its next merge.
//!
//! **Memory is bounded**: `batch.max_in_flight` batches of `batch.max_bytes`, one open batch a table, and the messages asked for ahead.
//! When ClickHouse does not take rows, no more messages are taken, and those at hand are kept alive at the broker.

mod ack;
mod batch;
mod deliver;
mod insert;
mod lookup;
mod message;
mod poll;
mod recent;
mod shared;
mod sort;
mod subscription;
mod worker;

pub use ack::acknowledge;
pub use message::{Delivery, header};
pub use poll::poll;
pub use shared::{Backoff, Shared};
pub use subscription::open as subscribe;
pub use worker::Worker;
