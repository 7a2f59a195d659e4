//! Audit messages that the broker has stored: it may lose them, as a server does that is restored from an older copy.

use std::collections::VecDeque;

use super::outbox::PendingAudit;

/// The newest messages, bounded. Beyond, the oldest leave: central has read them by then.
#[derive(Debug)]
pub(super) struct StoredAudits {
    messages: VecDeque<PendingAudit>,
    /// Those that are sent again when there is room, oldest first.
    lost: VecDeque<PendingAudit>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
    /// Of the newest message in the stream.
    sequence: u64,
}

impl StoredAudits {
    pub(super) const fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            messages: VecDeque::new(),
            lost: VecDeque::new(),
            bytes: 0,
            messages_max,
            bytes_max,
            sequence: 0,
        }
    }

    /// Adds a message. Those before it are lost if its sequence proves that the stream lost some. Gives the number of those that are given up.
    pub(super) fn add(&mut self, message: PendingAudit, sequence: u64) -> u64 {
        let given_up = if sequence <= self.sequence { self.lose() } else { 0 };
        self.sequence = sequence;
        self.bytes = self.bytes.saturating_add(message.payload.len());
        self.messages.push_back(message);
        while self.messages.len() > self.messages_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.payload.len());
        }
        given_up
    }

    /// Adds those of earlier runs, before the others.
    pub(super) fn add_earlier(&mut self, messages: impl DoubleEndedIterator<Item = PendingAudit>) {
        for message in messages.rev() {
            let bytes = self.bytes.saturating_add(message.payload.len());
            if self.messages.len() >= self.messages_max || bytes > self.bytes_max {
                break;
            }
            self.bytes = bytes;
            self.messages.push_front(message);
        }
    }

    /// None of the messages may be stored any more. Gives the number of those that are given up: the oldest that wait to be sent again.
    pub(super) fn lose(&mut self) -> u64 {
        self.bytes = 0;
        self.lost.append(&mut self.messages);
        let given_up = self.lost.len().saturating_sub(self.messages_max);
        self.lost.drain(..given_up);
        u64::try_from(given_up).unwrap_or(u64::MAX)
    }

    /// The oldest lost message, once there is room for it.
    pub(super) fn next_lost(&mut self, has_room: impl FnOnce(usize) -> bool) -> Option<PendingAudit> {
        self.lost.pop_front_if(|message| has_room(message.payload.len()))
    }

    pub(super) fn lost(&self) -> usize {
        self.lost.len()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_a_sequence_that_is_not_greater_proves_lost_is_sent_again_when_there_is_room() {
        let message = |number: usize, bytes: usize| PendingAudit {
            message_id: number.to_string(),
            payload: Bytes::from(vec![b'x'; bytes]),
            since_ns: 0,
            window_ns: 0,
            is_kept: false,
        };
        let lost = |stored: &mut StoredAudits| -> Vec<String> {
            std::iter::from_fn(|| stored.next_lost(|_| true)).map(|message| message.message_id).collect()
        };
        let mut stored = StoredAudits::new(3, 100);
        for (number, sequence) in [(0, 7), (1, 8), (2, 12), (3, 13)] {
            assert_eq!(stored.add(message(number, 10), sequence), 0);
        }
        assert_eq!(stored.add(message(4, 10), 9), 0);
        assert!(stored.next_lost(|_| false).is_none() && stored.lost() == 3, "they wait for room");
        assert_eq!(lost(&mut stored), ["1", "2", "3"]);
        stored.add(message(5, 10), 10);
        assert_eq!((stored.lose(), stored.bytes), (0, 0));
        for number in 6..8 {
            stored.add(message(number, 10), 20 + number as u64);
        }
        assert_eq!(stored.lose(), 1, "the oldest is given up");
        assert_eq!(lost(&mut stored), ["5", "6", "7"]);
        stored.add(message(8, 10), 29);
        stored.add_earlier((1..5).map(|number| message(number, 30)));
        assert_eq!((stored.lose(), stored.bytes), (0, 0));
        assert_eq!(lost(&mut stored), ["3", "4", "8"], "the newest of earlier runs");
        stored.add(message(8, 101), 30);
        assert_eq!((stored.lose(), stored.lost()), (0, 0));
    }
}
