//! Copies of events whose own message is still on its way into hot.

use std::collections::{HashMap, HashSet};

use async_nats::Message;
use marketprism_schema::EventId;

use super::message::Delivery;

/// A message with an event that another message brings already.
#[derive(Debug)]
pub struct PendingDuplicate {
    /// The message, without its payload.
    pub message: Message,
    /// What the broker said of it.
    pub delivery: Delivery,
    /// Its row of `copies`.
    pub row: Vec<u8>,
}

/// Copies that are not in their table yet: those that wait for the event's own message, and the sequences of all.
///
/// What is waited for is in open batches and inserts, so their bounds, and the broker's of unacknowledged messages, bound this too.
#[derive(Debug, Default)]
pub struct PendingDuplicates {
    by_event: HashMap<EventId, Vec<PendingDuplicate>>,
    on_the_way: HashSet<u64>,
}

impl PendingDuplicates {
    /// Whether the message with this sequence is a copy on its way: delivered again, it needs nothing more.
    pub fn is_on_the_way(&self, stream_seq: u64) -> bool {
        !self.on_the_way.is_empty() && self.on_the_way.contains(&stream_seq)
    }

    /// Keeps a copy until it is known what became of the event's own message.
    pub fn keep(&mut self, id: EventId, copy: PendingDuplicate) {
        self.on_the_way.insert(copy.delivery.stream_seq);
        self.by_event.entry(id).or_default().push(copy);
    }

    /// A copy goes straight into a batch.
    pub fn begin(&mut self, stream_seq: u64) {
        self.on_the_way.insert(stream_seq);
    }

    /// A copy is in its table, or needs no row after all.
    pub fn end(&mut self, stream_seq: u64) {
        self.on_the_way.remove(&stream_seq);
    }

    /// Those that waited for an event.
    pub fn take(&mut self, id: EventId) -> Vec<PendingDuplicate> {
        if self.by_event.is_empty() { Vec::new() } else { self.by_event.remove(&id).unwrap_or_default() }
    }

    /// Lowest sequence of all copies on the way.
    pub fn lowest(&self) -> Option<u64> {
        self.on_the_way.iter().min().copied()
    }
}
