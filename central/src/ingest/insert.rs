//! One insert into ClickHouse, and the permission for it.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::batch::Sealed;
use crate::lease::Lease;
use crate::limits;
use crate::running_inserts::log_comment_prefix;
use crate::storage::{Storage, StorageError, UNKNOWN_SETTING, always, without_views};

/// Inserts some rows of a batch. Repeating it after a lost answer stores nothing twice.
///
/// A batch may span partitions, each of which becomes a part of its own. After a crash of the server some parts may exist;
/// each carries the token, so the repetition adds only the missing ones. `round` is above 0 for rows that the server
/// said it had and did not hold (`insert_task`). Tables other than those of events merge repeated rows and deduplicate no insert. With
/// `ignores_views` the rows are to be read back.
pub async fn insert(
    storage: &Storage,
    guard: &InsertGuard,
    batch: &Sealed,
    range: &Range<usize>,
    (round, ignores_views): (u32, bool),
) -> Result<(), StorageError> {
    let limit = storage.insert_timeout;
    let sent = tokio::time::timeout(limit, send(storage, guard, batch, (range, round, ignores_views))).await;
    let sent = sent.unwrap_or(Err(StorageError::TimedOut(limit)));
    if let Err(StorageError::Refused { code: UNKNOWN_SETTING, .. }) = &sent {
        storage.forget_deduplication();
    }
    sent
}

async fn send(
    storage: &Storage,
    guard: &InsertGuard,
    batch: &Sealed,
    (range, round, ignores_views): (&Range<usize>, u32, bool),
) -> Result<(), StorageError> {
    let sql = format!("INSERT INTO {}.{} FORMAT Native", storage.database, batch.target.table());
    let (mut settings, token) = if batch.has_events() {
        let token = batch.token(range, round);
        (storage.deduplication().await?.once(&token), token)
    } else {
        (always(), String::new())
    };
    if ignores_views {
        settings.extend(without_views());
    }
    let insert = storage.client.insert_formatted_with(sql);
    let mut insert = settings
        .into_iter()
        .fold(insert, |insert, (name, value)| insert.with_setting(name, value))
        .with_setting("async_insert", "0")
        // A batch has no event twice, so its rows need no merge among themselves: a quarter of the server's work.
        .with_setting("optimize_on_insert", "0")
        .with_setting("log_comment", guard.log_comment(&token))
        // A table with drifted columns refuses the rows instead of converting them.
        .with_setting("input_format_native_allow_types_conversion", "0")
        // One that lost a column stores none without it.
        .with_setting("input_format_skip_unknown_fields", "0")
        // Answer only when the rows are in a part.
        .with_setting("wait_end_of_query", "1")
        // A batch may span any number of exchanges and days.
        .with_setting("max_partitions_per_insert_block", "0")
        // The server drops an insert of a stalled client before another central may hold the lease.
        .with_setting("http_receive_timeout", whole_seconds(guard.lease().times().insert_stall()))
        // The server stops as well: an insert counted as failed stores nothing later than this.
        .with_setting("max_execution_time", whole_seconds(storage.insert_timeout));
    let mut next = 0;
    while batch.rows.has_column(next) {
        // In the cache until it is sent, and soon enough written for a thread that serves connections too.
        let part = batch.rows.block_part(range.clone(), next, limits::INSERT_CHUNK_BYTES);
        let (part, after) = part.map_err(StorageError::Rows)?;
        let mut part = Bytes::from(part);
        while !part.is_empty() {
            let chunk = part.split_to(part.len().min(limits::INSERT_CHUNK_BYTES));
            check_lease(guard)?;
            insert.send(chunk).await?;
        }
        next = after;
    }
    // The server drops an insert without its end.
    check_lease(guard)?;
    insert.end().await.map_err(StorageError::from)
}

/// A process that was suspended does not know yet that it lost the lease, so this is checked before each chunk.
fn check_lease(guard: &InsertGuard) -> Result<(), StorageError> {
    if guard.may_continue() {
        return Ok(());
    }
    Err(StorageError::Unreachable("the lease of the stream expired during the insert".to_owned()))
}

fn whole_seconds(duration: Duration) -> String {
    duration.as_secs().max(1).to_string()
}

/// Permission to insert messages of one partition: its lease.
#[derive(Debug)]
pub struct InsertGuard {
    /// Name of the partition.
    partition: String,
    lease: Lease,
}

impl InsertGuard {
    pub fn new(partition: String, lease: Lease) -> Self {
        Self { partition, lease }
    }

    /// `log_comment` of an insert, and of each repetition of it.
    pub fn log_comment(&self, token: &str) -> String {
        format!("{}{token}", log_comment_prefix(&self.partition))
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    pub async fn release(self) {
        self.lease.release().await;
    }

    /// The lease lasts long enough to start an insert and to abort it if the lease is lost.
    pub fn may_begin(&self) -> bool {
        self.lease.valid_for() >= self.lease.times().insert_margin()
    }

    /// The lease lasts long enough to send another chunk.
    pub fn may_continue(&self) -> bool {
        self.lease.valid_for() >= self.lease.times().chunk_margin()
    }
}
