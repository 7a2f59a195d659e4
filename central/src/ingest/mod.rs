//! Ingest: messages of JetStream become rows in hot, every event once.
//!
//! A message has one event or, packed, several. Each becomes a row with the sequence of the message, which is acknowledged with its last event
//! (`open_message`); sequences, losses and positions count messages.
//!
//! **No loss.** A message is acknowledged only after the inserts of its rows; a refused event after its payload is in the dead-letter table.
//! Messages that the broker discarded are found by their sequences and recorded in `losses` (`progress`, `gap_scan`, `losses`). Every event of a message
//! ends as exactly one of: its row; a part of a row of `copies`, if another message brought it; a row of `corrected_events`; a row of `dead_letters`.
//!
//! **Acknowledgements.** Each table has a consumer, whose acknowledgement covers everything before it (`ack_window`): one message for a batch, up
//! to the first message that is not stored. Deliveries are numbered without a hole; after a lost one, and at a change of owner, the consumer
//! begins again behind its acknowledged messages (`subscription::resume`), and what is in memory or in hot is recognized. A message waits in the
//! window until all its events have their rows, also in common tables (`copies`, `dead_letters`). `confirmed` is contiguous over all consumers.
//!
//! **No duplicates**, although events come again: after lost acknowledgements, crashes between insert and acknowledgement, or a second
//! publication. Each of these covers what the others miss:
//! 1. rows and deduplication token of a batch are fixed before the first try, so a retried insert has no effect (`batch`). A server
//!    killed at the wrong moment keeps the token without the rows, so after a failure they are read back (`insert_task`);
//! 2. ids in open batches and a bounded number of recently stored ids are kept in memory (`recent_ids`);
//! 3. what memory does not exclude is looked up in hot by event id (`lookup`). The broker drops a message whose id it has, which spares work and
//!    proves nothing: two edges group the same events differently, and a journal sends them again in other groups. Memory knows every event
//!    that was stored since the first message that this central alone took (`first_new`), so lookups cost something only in the first ten
//!    seconds of a backlog, for redeliveries, for events as old, and above four times `recent_event_ids` in twenty seconds;
//! 4. one central at a time takes a partition of a stream (`stream_owner`), which has all copies of an event: no lookup sees an insert of it that
//!    another process has in flight;
//! 5. ReplacingMergeTree merges duplicates that passed all of these.
//!
//! **Partitions.** Each has what is said here of a stream: lease, consumers, windows, ids, batches. Its consumers deliver the whole stream, and messages of
//! other partitions are finished at once. The owner of the first partition confirms what all consumers have acknowledged and finds what the broker discarded;
//! before it recovers a hot that was put back it takes the other partitions over.
//!
//! **Restored servers.** Hot keeps the confirmed position of each stream too (`positions`), written before the broker's. If hot's is
//! lower, its copy mark is lower than that of cold (`copy_marks`), or it lacks an acknowledged message, hot was put back to an earlier state: its
//! rows come back from cold, the consumer goes back, and what nobody has is recorded in `losses` (`put_back`). Streams, consumers and buckets that were deleted are created again.
//!
//! **Change of owner.** An owner starts an insert, and sends each chunk, only while its lease lasts long enough for the server to drop the
//! insert in time (`config::LeaseTimes`); with the lease it drops its connections, a second before another central may own the
//! stream. The server drops an incomplete insert at once when the connection breaks, or after `insert_stall` when its client is suspended.
//! A complete one may still be running, so a new owner waits until the server lists no insert of the stream (at most
//! `max_execution_time`); without the privilege to list them it waits for twice the insert timeout. A slow ClickHouse costs time, not rows.
//!
//! **Bounded memory**: per table `batch.max_in_flight` batches of `batch.max_bytes`, an open one, the duplicates of their events, and the
//! prefetched messages. While a table takes no rows, no messages of it are taken, and those in memory are kept alive at the broker.

mod ack_window;
mod background;
mod batch;
mod cold_rows;
mod compared_rows;
mod dedup;
mod delivery_watch;
mod gap_scan;
mod insert;
mod insert_task;
mod known_events;
mod lookup;
mod losses;
mod message;
mod open_message;
mod other_partitions;
pub mod positions;
mod progress;
mod put_back;
mod recent_ids;
mod scan_pace;
mod series;
mod spans;
mod stored_ids;
mod stream_owner;
mod stream_progress;
mod subscription;
mod table_pulls;
mod traces;
mod worker;

pub use background::{read_history, watch};
pub use dedup::EXPIRED;
pub use delivery_watch::DeliveryWatch;
pub use message::{Delivery, decode, header, split};
pub use series::expect_series;
pub use stream_owner::own_partition;
pub use subscription::{acknowledge, consumer_info, open as subscribe, rewind};
