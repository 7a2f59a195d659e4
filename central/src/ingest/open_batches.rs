//! The batches of one stream that are being filled.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::{Batch, BatchCapacity};
use crate::row::Target;

/// The batches of one stream that are being filled, one a table.
#[derive(Debug)]
pub struct OpenBatches {
    stream: &'static str,
    incarnation: u64,
    batches: BTreeMap<Target, Batch>,
    /// What the last batch of each table came to: the next one comes to about as much.
    rooms: BTreeMap<Target, BatchCapacity>,
}

impl OpenBatches {
    /// None open.
    pub fn new(stream: &'static str) -> Self {
        Self { stream, incarnation: 0, batches: BTreeMap::new(), rooms: BTreeMap::new() }
    }

    /// From now on batches hold messages of this making of the stream. Nothing may be open.
    pub fn begin_stream(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
    }

    /// The batch of a table.
    pub fn of(&mut self, target: Target) -> &mut Batch {
        let Self { stream, incarnation, batches, rooms } = self;
        batches.entry(target).or_insert_with(|| {
            let room = rooms.get(&target).copied().unwrap_or_default();
            Batch::new(target, stream, *incarnation, room)
        })
    }

    /// Lowest sequence in any of them.
    pub fn lowest(&self) -> Option<u64> {
        self.batches.values().map(|batch| batch.lowest).min()
    }

    /// When the oldest is due.
    pub fn deadline(&self, max_age: Duration) -> Option<Instant> {
        self.batches.values().map(|batch| batch.deadline(max_age)).min().map(Instant::from_std)
    }

    /// Takes out those that are due.
    pub fn close_if(&mut self, is_due: impl Fn(&Batch) -> bool) -> Vec<Batch> {
        let due: Vec<Target> = self.batches.iter().filter(|(_, b)| is_due(b)).map(|(t, _)| *t).collect();
        let closed = due.iter().filter_map(|target| self.batches.remove(target));
        // A batch without entries is left by an event whose row could not be written.
        let closed: Vec<Batch> = closed.filter(|batch| !batch.entries.is_empty()).collect();
        self.rooms.extend(closed.iter().map(|batch| (batch.target, batch.room())));
        closed
    }
}
