//! Sums over what went through an exchange.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What went through an exchange.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections opened.
    pub connections: AtomicU64,
    /// Frames that had at least one receiver.
    pub frames: AtomicU64,
    /// Frames queued for a connection.
    pub queued: AtomicU64,
    /// Frames taken by a socket.
    pub sent: AtomicU64,
    /// Frames a fault withheld or spoiled, per receiver.
    pub withheld: AtomicU64,
    /// Connections ended because they read too slowly.
    pub overflows: AtomicU64,
    /// Connections ended because the client sent too many messages.
    pub too_many_messages: AtomicU64,
    /// REST requests.
    pub requests: AtomicU64,
    /// Connections refused because too many were opened.
    pub refused_connections: AtomicU64,
    /// REST requests refused for their weight.
    pub refused_requests: AtomicU64,
    /// Connections ended because the client did not answer, or went idle.
    pub unanswered: AtomicU64,
    /// Events that were not generated in time: the rate asked for is beyond this machine.
    pub behind: AtomicU64,
}

/// [`Counters`] as numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "named and documented in Counters")]
pub struct CountersView {
    pub connections: u64,
    pub frames: u64,
    pub queued: u64,
    pub sent: u64,
    pub withheld: u64,
    pub overflows: u64,
    pub too_many_messages: u64,
    pub requests: u64,
    pub refused_connections: u64,
    pub refused_requests: u64,
    pub unanswered: u64,
    pub behind: u64,
}

impl Counters {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Now.
    #[must_use]
    pub fn view(&self) -> CountersView {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CountersView {
            connections: get(&self.connections),
            frames: get(&self.frames),
            queued: get(&self.queued),
            sent: get(&self.sent),
            withheld: get(&self.withheld),
            overflows: get(&self.overflows),
            too_many_messages: get(&self.too_many_messages),
            requests: get(&self.requests),
            refused_connections: get(&self.refused_connections),
            refused_requests: get(&self.refused_requests),
            unanswered: get(&self.unanswered),
            behind: get(&self.behind),
        }
    }
}
