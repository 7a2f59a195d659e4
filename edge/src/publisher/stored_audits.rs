//! Audit messages that the broker has stored: it may lose them, as a server does that is restored from an older copy.

use std::collections::VecDeque;

use super::outbox::PendingAudit;

/// The newest messages, bounded. Beyond, the oldest leave: central has read them by then.
#[derive(Debug)]
pub(super) struct StoredAudits {
    messages: VecDeque<PendingAudit>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
    /// Of the newest message in the stream.
    sequence: u64,
}

impl StoredAudits {
    pub(super) const fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, messages_max, bytes_max, sequence: 0 }
    }

    /// Adds a message. Returns those before it if its sequence proves that the stream lost some.
    pub(super) fn add(&mut self, message: PendingAudit, sequence: u64) -> Vec<PendingAudit> {
        let lost = if sequence <= self.sequence { self.take() } else { Vec::new() };
        self.sequence = sequence;
        self.bytes = self.bytes.saturating_add(message.payload.len());
        self.messages.push_back(message);
        while self.messages.len() > self.messages_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.payload.len());
        }
        lost
    }

    /// All messages, oldest first, as none may be stored any more.
    pub(super) fn take(&mut self) -> Vec<PendingAudit> {
        self.bytes = 0;
        self.messages.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_sequence_that_is_not_greater_returns_what_was_stored_before_within_the_bounds() {
        let message = |number: usize, bytes: usize| PendingAudit {
            message_id: number.to_string(),
            payload: Bytes::from(vec![b'x'; bytes]),
            since_ns: 0,
            window_ns: 0,
            is_kept: false,
        };
        let ids = |messages: Vec<PendingAudit>| -> Vec<String> {
            messages.into_iter().map(|message| message.message_id).collect()
        };
        let mut stored = StoredAudits::new(3, 100);
        for (number, sequence) in [(0, 7), (1, 8), (2, 12), (3, 13)] {
            assert_eq!(stored.add(message(number, 10), sequence), []);
        }
        assert_eq!(ids(stored.add(message(4, 10), 9)), ["1", "2", "3"]);
        assert_eq!(stored.add(message(5, 10), 10), []);
        assert_eq!(ids(stored.take()), ["4", "5"]);
        assert_eq!(stored.add(message(6, 101), 11), []);
        assert_eq!((stored.take(), stored.bytes), (vec![], 0));
    }
}
