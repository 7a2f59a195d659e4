//! Known events that come again: how they were recognized, and those that wait until the event is stored.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use marketprism_schema::{DataType, EventId};

use super::message::Delivery;
use super::open_message::OpenMessage;
use super::stored_ids::HashById;
use crate::limits;
use crate::row::CopyRow;

/// Where the event of a duplicate was found: a recent id in memory, an open batch, hot. Label of counters.
pub const FOUND: [&str; 3] = ["recent", "in_flight", "stored"];

/// State of an event id; numbers are stream sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdState {
    New,
    /// In a batch that is not stored yet.
    InFlight(u64),
    Stored(u64),
}

impl IdState {
    pub const fn found(self) -> &'static str {
        if let Self::InFlight(_) = self { FOUND[1] } else { FOUND[0] }
    }
}

/// Repetition of an event that is before it in its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    None,
    /// An event with another receive time: a book that a reconnect gave again.
    OfEvent,
    /// Everything.
    OfRecord,
}

impl Repetition {
    /// `same`: receive times of the same event before it.
    pub fn of(same: impl Iterator<Item = i64>, received_at_ns: i64) -> Self {
        same.fold(Self::None, |found, other| match found {
            Self::OfRecord => found,
            _ if other == received_at_ns => Self::OfRecord,
            _ => Self::OfEvent,
        })
    }
}

/// An event of a message that another message in flight brings.
#[derive(Debug)]
pub struct PendingDuplicate {
    pub message: Arc<OpenMessage>,
    /// Place of the event in the message.
    pub place: usize,
    pub delivery: Delivery,
    pub row: CopyRow<'static>,
}

impl PendingDuplicate {
    fn bytes(&self) -> usize {
        // Its row with three short texts, and its places in two tables.
        const BESIDE_PAYLOAD: usize = size_of::<PendingDuplicate>() + 192;
        BESIDE_PAYLOAD + self.message.bytes_an_event()
    }
}

/// Duplicates that are not stored yet: those that wait for the event's own message, and sequence and event of all.
///
/// While those of a table take [`limits::PENDING_DUPLICATES_BYTES`], no more messages of it are taken; what they wait for is stored meanwhile.
#[derive(Debug, Default)]
pub struct PendingDuplicates {
    by_event: HashMap<EventId, Vec<PendingDuplicate>, HashById>,
    /// Of those that wait.
    bytes: BTreeMap<DataType, usize>,
    pending: HashSet<(u64, EventId), HashById>,
}

impl PendingDuplicates {
    /// This event of this message is a pending duplicate, so its redelivery needs nothing more.
    pub fn is_pending(&self, stream_seq: u64, id: EventId) -> bool {
        !self.pending.is_empty() && self.pending.contains(&(stream_seq, id))
    }

    /// More duplicates of the table's events may wait.
    pub fn has_room(&self, data_type: DataType) -> bool {
        self.bytes.get(&data_type).is_none_or(|&bytes| bytes < limits::PENDING_DUPLICATES_BYTES)
    }

    /// Keeps a duplicate until the outcome of the event's own message is known.
    pub fn keep(&mut self, id: EventId, copy: PendingDuplicate) {
        *self.bytes.entry(copy.row.data_type).or_default() += copy.bytes();
        self.pending.insert((copy.delivery.stream_seq, id));
        self.by_event.entry(id).or_default().push(copy);
    }

    pub fn begin(&mut self, stream_seq: u64, id: EventId) {
        self.pending.insert((stream_seq, id));
    }

    /// A duplicate is stored, or needs no row.
    pub fn end(&mut self, stream_seq: u64, id: EventId) {
        self.pending.remove(&(stream_seq, id));
    }

    /// Removes the duplicates that wait for an event.
    pub fn take(&mut self, id: EventId) -> Vec<PendingDuplicate> {
        let taken =
            if self.by_event.is_empty() { None } else { self.by_event.remove(&id) }.unwrap_or_default();
        for copy in &taken {
            if let Some(bytes) = self.bytes.get_mut(&copy.row.data_type) {
                *bytes = bytes.saturating_sub(copy.bytes());
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use marketprism_schema::Decimal;

    fn id(n: u128) -> EventId {
        EventId(n << 64 | n.reverse_bits() >> 64)
    }

    #[test]
    fn the_bytes_of_waiting_duplicates_end_the_taking_of_their_table_until_their_events_are_stored() {
        let mut pending = PendingDuplicates::default();
        let event = fixtures::trade(fixtures::header(), Decimal::default());
        let payload = vec![0; limits::PENDING_DUPLICATES_BYTES / 4];
        let mut duplicate = |event_id: u128, stream_seq| {
            let message =
                OpenMessage::new(fixtures::message(fixtures::TRADE_SUBJECT, None, payload.clone()), 1);
            let delivery = Delivery { stream_seq, is_redelivered: false, published_ns: 7 };
            let row = CopyRow::of(&event, stream_seq, FOUND[1]).into_owned();
            pending.keep(id(event_id), PendingDuplicate { message, place: 0, delivery, row });
            pending.has_room(DataType::Trade)
        };
        assert_eq!([1, 1, 2, 3].map(|event| duplicate(event, 9)), [true, true, true, false]);
        assert!(pending.has_room(DataType::OrderBook), "another table");
        assert_eq!(pending.take(id(1)).len(), 2);
        assert!(pending.has_room(DataType::Trade));
        for event in [2, 3, 4] {
            pending.take(id(event));
        }
        assert_eq!(pending.bytes.values().sum::<usize>(), 0);
    }
}
