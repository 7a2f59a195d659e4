//! Outgoing messages of one generation, paced by the venue's message limit: a rolling window that, unlike a
//! budget, counts pongs, which cannot be delayed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::counters::{Counters, SocketCounter};
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_MAX, PACED_MESSAGES_MAX};

/// Held while a resync is in progress.
pub(crate) type ResyncInProgress = OwnedSemaphorePermit;

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

impl OutgoingMessage {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.text.len(),
            Self::PingFrame => 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct SendQueue {
    pacer: Pacer,
    opening: VecDeque<String>,
    urgent: VecDeque<OutgoingMessage>,
    normal: VecDeque<OutgoingText>,
    /// Of the urgent and normal texts.
    bytes: usize,
    counters: Arc<Counters>,
}

impl SendQueue {
    pub(crate) fn new(pacer: Pacer, opening: &[String], counters: Arc<Counters>) -> Self {
        let opening = opening.iter().cloned().collect();
        Self { pacer, opening, urgent: VecDeque::new(), normal: VecDeque::new(), bytes: 0, counters }
    }

    pub(crate) fn opening_sent(&self) -> bool {
        self.opening.is_empty()
    }

    pub(crate) fn push(&mut self, text: OutgoingText) {
        let is_full = self.urgent.len() + self.normal.len() >= OUTBOX_MAX
            || self.bytes.saturating_add(text.text.len()) > OUTBOX_BYTES_MAX;
        if !self.pacer.allows_texts() || is_full {
            self.counters.count(SocketCounter::DiscardedTextQueueFull);
            return;
        }
        self.bytes += text.text.len();
        if text.urgent {
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
            self.bytes += heartbeat.bytes();
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
        let next = if let Some(urgent) = self.urgent.pop_front() {
            self.bytes = self.bytes.saturating_sub(urgent.bytes());
            urgent
        } else if let Some(text) = self.opening.pop_front() {
            OutgoingMessage::Text(OutgoingText::new(text, false))
        } else {
            let text = self.normal.pop_front()?;
            self.bytes = self.bytes.saturating_sub(text.text.len());
            OutgoingMessage::Text(text)
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

#[derive(Debug)]
pub(crate) struct Pacer {
    max: usize,
    /// Messages of `max` reserved for pongs.
    kept_for_pongs: usize,
    /// Longer than the venue's: messages sent a window apart may arrive closer together.
    window: Duration,
    /// No more than decide when the next text may go: a flood of pings adds no further ones.
    sent: VecDeque<Instant>,
}

impl Pacer {
    pub(crate) fn new(max: u32, window: Duration) -> Self {
        let margin = (window / 10).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let max = usize::try_from(max).unwrap_or(usize::MAX).min(PACED_MESSAGES_MAX);
        Self { max, kept_for_pongs: usize::from(max > 1), window: window + margin, sent: VecDeque::new() }
    }

    /// Least time for a number of texts.
    pub(crate) fn time_for(&self, texts: usize) -> Duration {
        let allowed = self.max.saturating_sub(self.kept_for_pongs).max(1);
        let full_windows = texts.saturating_sub(1) / allowed;
        self.window.saturating_mul(u32::try_from(full_windows).unwrap_or(u32::MAX))
    }

    pub(crate) fn allows_texts(&self) -> bool {
        self.max > 0
    }

    pub(crate) fn sent(&mut self, now: Instant) {
        self.forget(now);
        if self.sent.len() >= self.max {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }

    pub(crate) fn ready_at(&mut self, now: Instant) -> Instant {
        self.forget(now);
        let allowed = self.max.saturating_sub(self.kept_for_pongs);
        // Room for one more once all but `allowed - 1` messages have left the window.
        let leaving = (self.sent.len() + 1).saturating_sub(allowed);
        match leaving.checked_sub(1).and_then(|at| self.sent.get(at)) {
            Some(sent) => *sent + self.window,
            None => now,
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.sent.front().is_some_and(|sent| *sent + self.window <= now) {
            self.sent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_holds_more_than_the_limit() {
        let start = Instant::now();
        let window = Duration::from_secs(1);
        let mut pacer = Pacer::new(5, window);
        let mut now = start;
        let mut sent = Vec::new();
        for text in 0..40 {
            now = pacer.ready_at(now);
            pacer.sent(now);
            sent.push(now);
            if text % 4 == 2 {
                // A pong cannot be delayed.
                pacer.sent(now);
                sent.push(now);
            }
        }
        for first in &sent {
            let count = sent.iter().filter(|at| **at >= *first && **at < *first + window).count();
            assert!(count <= 5, "{count} messages within a window");
        }
        assert!(now - start < Duration::from_millis(1100) * 14, "texts waited longer than needed");
    }

    #[test]
    fn a_flood_of_pongs_is_remembered_up_to_the_limit_and_delays_texts_by_a_window() {
        let start = Instant::now();
        let mut pacer = Pacer::new(5, Duration::from_secs(1));
        for pong in 0..10_000 {
            pacer.sent(start + Duration::from_micros(pong));
        }
        assert_eq!(pacer.sent.len(), 5);
        let newest = start + Duration::from_micros(9_999);
        let ready = pacer.ready_at(newest);
        assert!(ready > newest + Duration::from_secs(1) && ready <= newest + Duration::from_millis(1100));
    }

    #[test]
    fn waiting_texts_are_bounded_in_bytes() {
        let counters = Arc::new(Counters::default());
        let mut queue = SendQueue::new(Pacer::new(10, Duration::from_secs(1)), &[], Arc::clone(&counters));
        let text = |urgent| OutgoingText::new("x".repeat(1 << 20), urgent);
        (0..6).for_each(|number| queue.push(text(number % 2 == 0)));
        assert_eq!(counters.read()[SocketCounter::DiscardedTextQueueFull], 2);
        assert!(queue.take(Instant::now()).is_some());
        queue.push(text(false));
        assert_eq!(counters.read()[SocketCounter::DiscardedTextQueueFull], 2);
    }

    #[test]
    fn the_time_for_texts_is_known() {
        for texts in [0usize, 1, 4, 5, 41] {
            let start = Instant::now();
            let mut pacer = Pacer::new(5, Duration::from_secs(1));
            let mut now = start;
            for _ in 0..texts {
                now = pacer.ready_at(now);
                pacer.sent(now);
            }
            assert_eq!(pacer.time_for(texts), now - start, "{texts} texts");
        }
    }

    #[test]
    fn a_limit_of_one_is_usable() {
        let start = Instant::now();
        let mut pacer = Pacer::new(1, Duration::from_secs(1));
        assert_eq!(pacer.ready_at(start), start);
        pacer.sent(start);
        assert_eq!(pacer.ready_at(start), start + Duration::from_millis(1100));
    }
}
