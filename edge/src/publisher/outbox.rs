//! Audit messages that wait for the broker, in order and bounded.

use std::collections::VecDeque;

use bytes::Bytes;
use marketprism_service::clock;

use crate::audit::UnsentMessage;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PendingAudit {
    pub(super) message_id: String,
    pub(super) payload: Bytes,
    pub(super) since_ns: i64,
    /// Window of an audit of this run, else `i64::MAX`.
    pub(super) window_ns: i64,
    /// The journal of runs has it, so that a kill does not lose it.
    pub(super) is_kept: bool,
}

impl PendingAudit {
    /// Waits from now on.
    pub(super) fn new(message: UnsentMessage, window_ns: i64, is_kept: bool) -> Self {
        let UnsentMessage { id: message_id, payload } = message;
        Self { message_id, payload: payload.into(), since_ns: clock::now_ns(), window_ns, is_kept }
    }
}

#[derive(Debug)]
pub(super) struct AuditOutbox {
    waiting: VecDeque<PendingAudit>,
    /// Number of those that are kept.
    kept: usize,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

impl AuditOutbox {
    pub(super) const fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { waiting: VecDeque::new(), kept: 0, bytes: 0, messages_max, bytes_max }
    }

    /// Adds a message; returns the number of older ones that were dropped.
    pub(super) fn push(&mut self, message: PendingAudit) -> u64 {
        self.bytes = self.bytes.saturating_add(message.payload.len());
        self.kept += usize::from(message.is_kept);
        self.waiting.push_back(message);
        let mut dropped = 0;
        while self.waiting.len() > 1
            && (self.waiting.len() > self.messages_max || self.bytes > self.bytes_max)
        {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    pub(super) fn first(&self) -> Option<&PendingAudit> {
        self.waiting.front()
    }

    /// Window of the oldest audit of this run.
    pub(super) fn first_window_ns(&self) -> i64 {
        self.waiting.iter().map(|message| message.window_ns).min().unwrap_or(i64::MAX)
    }

    pub(super) fn pop(&mut self) -> Option<PendingAudit> {
        let message = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(message.payload.len());
        self.kept -= usize::from(message.is_kept);
        Some(message)
    }

    /// True if a message of this size drops no other one.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.waiting.len() < self.messages_max && self.bytes.saturating_add(bytes) <= self.bytes_max
    }

    /// All messages, or those that are kept. Oldest first.
    pub(super) fn unsent(&self, is_complete: bool) -> Vec<UnsentMessage> {
        let unsent =
            |message: &PendingAudit| UnsentMessage::new(message.message_id.clone(), message.payload.to_vec());
        self.waiting.iter().filter(|message| is_complete || message.is_kept).map(unsent).collect()
    }

    /// Number of messages that are kept.
    pub(super) const fn kept(&self) -> usize {
        self.kept
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_leave_in_order_and_a_full_outbox_drops_the_oldest_by_number_and_by_bytes() {
        let message = |number: usize, bytes: usize| PendingAudit {
            message_id: number.to_string(),
            payload: Bytes::from(vec![b'x'; bytes]),
            since_ns: 0,
            window_ns: i64::MAX,
            is_kept: number % 2 == 1,
        };
        let mut outbox = AuditOutbox::new(3, 100);
        assert_eq!((0..5).map(|number| outbox.push(message(number, 10))).sum::<u64>(), 2);
        assert_eq!(outbox.first().unwrap().message_id, "2");
        let ids = |is_complete| outbox.unsent(is_complete).into_iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(
            (ids(true), ids(false), outbox.kept()),
            (vec!["2".into(), "3".into(), "4".into()], vec!["3".into()], 1)
        );
        assert_eq!(outbox.push(message(5, 90)), 2);
        assert_eq!(outbox.len(), 2);
        assert_eq!(outbox.push(message(6, 500)), 2);
        assert!(!outbox.has_room(1));
        assert!(outbox.pop().is_some() && outbox.has_room(100) && !outbox.has_room(101));
        assert_eq!((outbox.len(), outbox.bytes, outbox.kept()), (0, 0, 0));
    }
}
