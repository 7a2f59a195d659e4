//! A delivered message until all its events are stored: it has one acknowledgement, and each of its events ends apart.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_nats::jetstream::AckKind;
use async_nats::{Message, Subject};
use bytes::Bytes;

/// Shared by the entries of its events.
#[derive(Debug)]
pub struct OpenMessage {
    message: Message,
    events: usize,
    /// Events without a row.
    open: AtomicUsize,
    has_dead_letter: AtomicBool,
}

impl OpenMessage {
    pub fn new(message: Message, events: usize) -> Arc<Self> {
        let (open, has_dead_letter) = (AtomicUsize::new(events), AtomicBool::new(false));
        Arc::new(Self { message, events, open, has_dead_letter })
    }

    /// For messages of which no payload is needed any more.
    pub fn without_payload(message: Message, events: usize) -> Arc<Self> {
        Self::new(Message { payload: Bytes::new(), headers: None, ..message }, events)
    }

    /// Bytes of the payload for each event.
    pub fn bytes_an_event(&self) -> usize {
        self.message.payload.len() / self.events.max(1)
    }

    pub fn has_dead_letter(&self) {
        self.has_dead_letter.store(true, Ordering::Relaxed);
    }

    /// An event has its row. The last one returns the subject of the acknowledgement.
    pub fn finish_event(&self) -> Option<&Subject> {
        let before = self.open.fetch_sub(1, Ordering::AcqRel);
        self.message.reply.as_ref().filter(|_| before == 1)
    }

    /// A message with a dead letter is terminated, which the broker tells its operators.
    pub fn ack_kind(&self) -> AckKind {
        if self.has_dead_letter.load(Ordering::Relaxed) { AckKind::Term } else { AckKind::Ack }
    }
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
    fn a_message_is_acknowledged_with_its_last_event_and_terminated_for_one_dead_letter() {
        let message = fixtures::message(TRADE_SUBJECT, None, vec![0; 300]);
        let message = OpenMessage::new(Message { reply: Some("ack".into()), ..message }, 3);
        assert_eq!(message.bytes_an_event(), 100);
        assert!(message.finish_event().is_none() && message.finish_event().is_none());
        assert!(matches!(message.ack_kind(), AckKind::Ack));
        message.has_dead_letter();
        assert_eq!(message.finish_event().map(|reply| &**reply), Some("ack"));
        assert!(matches!(message.ack_kind(), AckKind::Term));
    }
}
