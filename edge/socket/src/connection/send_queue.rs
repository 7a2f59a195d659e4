//! Outgoing messages of one generation, paced by the venue's message limit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::pacer::Pacer;
use crate::counters::{Counters, SocketCounter};
use crate::limits::OUTBOX_MAX;

#[derive(Debug)]
pub(crate) struct ResyncInProgress(Arc<AtomicBool>);

impl ResyncInProgress {
    /// `None` if it is in progress already.
    pub(crate) fn begin(flag: &Arc<AtomicBool>) -> Option<Self> {
        let free = flag.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).is_ok();
        free.then(|| Self(Arc::clone(flag)))
    }
}

impl Drop for ResyncInProgress {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
pub(crate) struct OutgoingText {
    pub(crate) text: String,
    /// Replies and heartbeats are sent before subscriptions.
    pub(crate) urgent: bool,
    /// Released when the text was sent or discarded.
    _under_way: Option<Arc<ResyncInProgress>>,
}

impl OutgoingText {
    pub(crate) fn new(text: String, urgent: bool) -> Self {
        Self { text, urgent, _under_way: None }
    }

    pub(crate) fn resync(text: String, in_progress: Arc<ResyncInProgress>) -> Self {
        Self { text, urgent: false, _under_way: Some(in_progress) }
    }
}

#[derive(Debug)]
pub(crate) enum OutgoingMessage {
    Text(OutgoingText),
    PingFrame,
}

#[derive(Debug)]
pub(crate) struct SendQueue {
    pacer: Pacer,
    opening: VecDeque<String>,
    urgent: VecDeque<OutgoingMessage>,
    normal: VecDeque<OutgoingText>,
    counters: Arc<Counters>,
}

impl SendQueue {
    pub(crate) fn new(pacer: Pacer, opening: &[String], counters: Arc<Counters>) -> Self {
        let opening = opening.iter().cloned().collect();
        Self { pacer, opening, urgent: VecDeque::new(), normal: VecDeque::new(), counters }
    }

    pub(crate) fn opening_sent(&self) -> bool {
        self.opening.is_empty()
    }

    pub(crate) fn push(&mut self, text: OutgoingText) {
        if !self.pacer.allows_texts() || self.urgent.len() + self.normal.len() >= OUTBOX_MAX {
            self.counters.count(SocketCounter::DiscardedTextQueueFull);
        } else if text.urgent {
            self.urgent.push_back(OutgoingMessage::Text(text));
        } else {
            self.normal.push_back(text);
        }
    }

    /// Dropped while an earlier one is still queued.
    pub(crate) fn push_heartbeat(&mut self, heartbeat: OutgoingMessage) {
        let waits = self.urgent.iter().any(|other| match (other, &heartbeat) {
            (OutgoingMessage::PingFrame, OutgoingMessage::PingFrame) => true,
            (OutgoingMessage::Text(one), OutgoingMessage::Text(other)) => one.text == other.text,
            _ => false,
        });
        if !waits && self.pacer.allows_texts() {
            self.urgent.push_back(heartbeat);
        }
    }

    /// Next send time; `None` if nothing is queued.
    pub(crate) fn ready_at(&mut self, now: Instant) -> Option<Instant> {
        let waiting = !self.opening.is_empty() || !self.urgent.is_empty() || !self.normal.is_empty();
        waiting.then(|| self.pacer.ready_at(now))
    }

    pub(crate) fn take(&mut self, now: Instant) -> Option<OutgoingMessage> {
        if self.ready_at(now)? > now {
            return None;
        }
        let next = match self.urgent.pop_front() {
            Some(urgent) => urgent,
            None => match self.opening.pop_front() {
                Some(text) => OutgoingMessage::Text(OutgoingText::new(text, false)),
                None => OutgoingMessage::Text(self.normal.pop_front()?),
            },
        };
        self.pacer.sent(now);
        Some(next)
    }

    /// Counts a pong, which the websocket library sends by itself.
    pub(crate) fn pong(&mut self, now: Instant) {
        self.pacer.sent(now);
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        let texts = self.urgent.iter().filter(|one| matches!(one, OutgoingMessage::Text(_))).count();
        let waiting = texts + self.normal.len();
        self.counters.add(SocketCounter::DiscardedTextClosed, waiting as u64);
    }
}
