//! A delivered message until all its events are stored: it has one acknowledgement, and each of its events ends apart.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::Message;
use bytes::Bytes;
use marketprism_schema::DataType;

/// Shared by the entries of its events.
#[derive(Debug)]
pub struct OpenMessage {
    message: Message,
    bytes_an_event: usize,
    /// Events without a row.
    open: AtomicUsize,
}

impl OpenMessage {
    pub fn new(message: Message, events: usize) -> Arc<Self> {
        let bytes_an_event = message.payload.len() / events.max(1);
        Arc::new(Self { message, bytes_an_event, open: AtomicUsize::new(events) })
    }

    /// For messages of which no payload is needed any more.
    pub fn without_payload(message: Message, events: usize) -> Arc<Self> {
        Self::new(Message { payload: Bytes::new(), headers: None, ..message }, events)
    }

    /// Bytes of the payload for each event.
    pub const fn bytes_an_event(&self) -> usize {
        self.bytes_an_event
    }

    /// Some events have their rows. True with the last one: the message may be acknowledged.
    pub fn finish_events(&self, count: usize) -> bool {
        self.open.fetch_sub(count, Ordering::AcqRel) == count
    }
}

/// A message all of whose events have their rows.
#[derive(Debug, Clone, Copy)]
pub struct FinishedMessage {
    pub data_type: Option<DataType>,
    pub stream_seq: u64,
    pub published_ns: i64,
}

impl Deref for OpenMessage {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, TRADE_SUBJECT};

    #[test]
    fn a_message_is_finished_with_its_last_event() {
        let message = OpenMessage::new(fixtures::message(TRADE_SUBJECT, None, vec![0; 300]), 3);
        assert_eq!(message.bytes_an_event(), 100);
        assert_eq!([1, 1, 1].map(|count| message.finish_events(count)), [false, false, true]);
        let message = OpenMessage::new(fixtures::message(TRADE_SUBJECT, None, Vec::new()), 3);
        assert_eq!([1, 2].map(|count| message.finish_events(count)), [false, true]);
    }
}
