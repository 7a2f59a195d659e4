//! Open batches of one stream.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::{Batch, BatchCapacity};
use crate::row::Target;

/// Open batches of one stream, one per table.
#[derive(Debug)]
pub struct OpenBatches {
    stream: &'static str,
    incarnation: u64,
    batches: BTreeMap<Target, Batch>,
    /// Size of the last batch of each table: a good guess for the next.
    capacities: BTreeMap<Target, BatchCapacity>,
}

impl OpenBatches {
    pub fn new(stream: &'static str) -> Self {
        Self { stream, incarnation: 0, batches: BTreeMap::new(), capacities: BTreeMap::new() }
    }

    /// New batches hold messages of this incarnation of the stream. No batch may be open.
    pub fn begin_stream(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
    }

    pub fn of(&mut self, target: Target) -> &mut Batch {
        let Self { stream, incarnation, batches, capacities } = self;
        batches.entry(target).or_insert_with(|| {
            let capacity = capacities.get(&target).copied().unwrap_or_default();
            Batch::new(target, stream, *incarnation, capacity)
        })
    }

    pub fn lowest(&self) -> Option<u64> {
        self.batches.values().map(|batch| batch.lowest).min()
    }

    pub fn deadline(&self, max_age: Duration) -> Option<Instant> {
        self.batches.values().map(|batch| batch.deadline(max_age)).min().map(Instant::from_std)
    }

    pub fn close_if(&mut self, is_due: impl Fn(&Batch) -> bool) -> Vec<Batch> {
        let due: Vec<Target> = self.batches.iter().filter(|(_, b)| is_due(b)).map(|(t, _)| *t).collect();
        let closed = due.iter().filter_map(|target| self.batches.remove(target));
        // An event whose row could not be encoded leaves an empty batch.
        let closed: Vec<Batch> = closed.filter(|batch| !batch.entries.is_empty()).collect();
        self.capacities.extend(closed.iter().map(|batch| (batch.target, batch.capacity())));
        closed
    }
}
