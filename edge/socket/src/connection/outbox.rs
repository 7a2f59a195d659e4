//! Texts of ours that wait for the message limit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::pacer::Pacer;
use crate::counters::{Counted, Counters};
use crate::limits::OUTBOX_MAX;

/// Marks a resync as under way until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<AtomicBool>);

impl UnderWay {
    /// `None` when it is under way already.
    pub(crate) fn begin(flag: &Arc<AtomicBool>) -> Option<Self> {
        let free = flag.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).is_ok();
        free.then(|| Self(Arc::clone(flag)))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A text to send.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// Answers to the venue and heartbeats go before subscriptions.
    pub(crate) urgent: bool,
    /// Released when the text has been sent or discarded.
    _under_way: Option<Arc<UnderWay>>,
}

impl Text {
    pub(crate) fn new(text: String, urgent: bool) -> Self {
        Self { text, urgent, _under_way: None }
    }

    pub(crate) fn resync(text: String, under_way: Arc<UnderWay>) -> Self {
        Self { text, urgent: false, _under_way: Some(under_way) }
    }
}

/// What goes out next.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Text(Text),
    PingFrame,
}

/// The texts waiting on one generation, and their pace.
#[derive(Debug)]
pub(crate) struct Outbox {
    pacer: Pacer,
    opening: VecDeque<String>,
    urgent: VecDeque<Outgoing>,
    normal: VecDeque<Text>,
    counters: Arc<Counters>,
}

impl Outbox {
    pub(crate) fn new(pacer: Pacer, opening: &[String], counters: Arc<Counters>) -> Self {
        let opening = opening.iter().cloned().collect();
        Self { pacer, opening, urgent: VecDeque::new(), normal: VecDeque::new(), counters }
    }

    /// Every opening message has been sent.
    pub(crate) fn opening_sent(&self) -> bool {
        self.opening.is_empty()
    }

    pub(crate) fn push(&mut self, text: Text) {
        if !self.pacer.allows_texts() || self.urgent.len() + self.normal.len() >= OUTBOX_MAX {
            self.counters.count(Counted::DiscardedTextQueueFull);
        } else if text.urgent {
            self.urgent.push_back(Outgoing::Text(text));
        } else {
            self.normal.push_back(text);
        }
    }

    /// A heartbeat that is due. One that still waits is enough.
    pub(crate) fn push_heartbeat(&mut self, heartbeat: Outgoing) {
        let waits = self.urgent.iter().any(|other| match (other, &heartbeat) {
            (Outgoing::PingFrame, Outgoing::PingFrame) => true,
            (Outgoing::Text(one), Outgoing::Text(other)) => one.text == other.text,
            _ => false,
        });
        if !waits && self.pacer.allows_texts() {
            self.urgent.push_back(heartbeat);
        }
    }

    /// When something may go out; `None` when nothing waits.
    pub(crate) fn ready_at(&mut self, now: Instant) -> Option<Instant> {
        let waiting = !self.opening.is_empty() || !self.urgent.is_empty() || !self.normal.is_empty();
        waiting.then(|| self.pacer.ready_at(now))
    }

    /// Takes what may go out now and counts it as sent.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Outgoing> {
        if self.ready_at(now)? > now {
            return None;
        }
        let next = match self.urgent.pop_front() {
            Some(urgent) => urgent,
            None => match self.opening.pop_front() {
                Some(text) => Outgoing::Text(Text::new(text, false)),
                None => Outgoing::Text(self.normal.pop_front()?),
            },
        };
        self.pacer.sent(now);
        Some(next)
    }

    /// Counts a pong, which goes out by itself.
    pub(crate) fn pong(&mut self, now: Instant) {
        self.pacer.sent(now);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let texts = self.urgent.iter().filter(|one| matches!(one, Outgoing::Text(_))).count();
        let waiting = texts + self.normal.len();
        self.counters.add(Counted::DiscardedTextClosed, waiting as u64);
    }
}
