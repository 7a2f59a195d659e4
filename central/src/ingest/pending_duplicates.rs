//! Duplicates of events whose own message is not stored yet.

use std::collections::{HashMap, HashSet};

use async_nats::Message;
use marketprism_schema::EventId;

use super::message::Delivery;

/// A message whose event another message in flight brings.
#[derive(Debug)]
pub struct PendingDuplicate {
    /// Without its payload.
    pub message: Message,
    pub delivery: Delivery,
    /// Its row for `copies`.
    pub row: Vec<u8>,
}

/// Duplicates that are not stored yet: those that wait for the event's own message, and the sequences of all.
///
/// Bounded by the open batches and inserts that they wait for, and by the broker's limit of unacknowledged messages.
#[derive(Debug, Default)]
pub struct PendingDuplicates {
    by_event: HashMap<EventId, Vec<PendingDuplicate>>,
    pending: HashSet<u64>,
}

impl PendingDuplicates {
    /// This message is a pending duplicate, so its redelivery needs nothing more.
    pub fn is_pending(&self, stream_seq: u64) -> bool {
        !self.pending.is_empty() && self.pending.contains(&stream_seq)
    }

    /// Keeps a duplicate until the outcome of the event's own message is known.
    pub fn keep(&mut self, id: EventId, copy: PendingDuplicate) {
        self.pending.insert(copy.delivery.stream_seq);
        self.by_event.entry(id).or_default().push(copy);
    }

    pub fn begin(&mut self, stream_seq: u64) {
        self.pending.insert(stream_seq);
    }

    /// A duplicate is stored, or needs no row.
    pub fn end(&mut self, stream_seq: u64) {
        self.pending.remove(&stream_seq);
    }

    /// Removes the duplicates that wait for an event.
    pub fn take(&mut self, id: EventId) -> Vec<PendingDuplicate> {
        if self.by_event.is_empty() { Vec::new() } else { self.by_event.remove(&id).unwrap_or_default() }
    }

    /// Lowest sequence of all pending duplicates.
    pub fn lowest(&self) -> Option<u64> {
        self.pending.iter().min().copied()
    }
}
