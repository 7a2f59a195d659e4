//! Acknowledgements of one stream, in the order in which messages were sent on the connection. A message is lost where a later one was
//! acknowledged before it. While none is acknowledged, one message at a time is published again, so that its acknowledgement tells.

use std::time::{Duration, Instant};

use crate::limits::ACK_WAIT_MAX;

#[derive(Debug, Default)]
pub(super) struct AckProgress {
    /// Number of the last message sent of which the stream acknowledged a copy.
    newest: u64,
    /// Last acknowledgement, or last message published again for want of one.
    heard: Option<Instant>,
    /// Messages published again since the last acknowledgement.
    probes: u32,
    /// Time that acknowledgements take; shorter ones count slowly.
    took: Duration,
}

impl AckProgress {
    pub(super) fn acknowledged(&mut self, send: u64, took: Duration, now: Instant) {
        self.newest = self.newest.max(send);
        self.heard = Some(now);
        self.probes = 0;
        self.took = took.max(self.took / 8 * 7).min(ACK_WAIT_MAX);
    }

    pub(super) const fn reconnected(&mut self) {
        (self.heard, self.probes, self.took) = (None, 0, Duration::ZERO);
    }

    pub(super) const fn has_overtaken(&self, send: u64) -> bool {
        self.newest > send
    }

    /// True, and counted, if nothing was acknowledged for too long since this message was sent.
    pub(super) fn is_probe_due(&mut self, sent: Instant, now: Instant, ack_timeout: Duration) -> bool {
        let since = self.heard.map_or(sent, |heard| heard.max(sent));
        let wait = ack_timeout.max(self.took.saturating_mul(2));
        let wait = wait.saturating_mul(self.probes.saturating_add(1).min(6));
        let is_due = now.saturating_duration_since(since) >= wait;
        if is_due {
            (self.heard, self.probes) = (Some(now), self.probes.saturating_add(1));
        }
        is_due
    }
}
