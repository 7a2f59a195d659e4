//! Messages and bytes that may be in flight: at most the configured limits, and fewer where acknowledgements take long, so that a slow link queues
//! no more than it carries in a part of the acknowledgement timeout. Audits, lease and heartbeat wait behind the same bytes.

use std::time::{Duration, Instant};

use crate::limits::{SEND_WINDOW_FIRST, SEND_WINDOW_MIN};

/// Part of the acknowledgement timeout above which acknowledgements are slow.
const SLOW_PART: u32 = 4;

#[derive(Debug)]
pub(super) struct SendWindow {
    messages: usize,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
    /// Shortest time of an acknowledgement on this connection: that of the way without a queue.
    fastest: Option<Duration>,
    /// Acknowledgements of messages sent before it do not show the last reduction.
    reduced_at: Option<Instant>,
}

impl SendWindow {
    pub(super) const fn new(messages_max: usize, bytes_max: usize) -> Self {
        let (messages, bytes) = SEND_WINDOW_FIRST;
        Self { messages, bytes, messages_max, bytes_max, fastest: None, reduced_at: None }
    }

    pub(super) const fn set_max(&mut self, messages_max: usize, bytes_max: usize) {
        (self.messages_max, self.bytes_max) = (messages_max, bytes_max);
    }

    pub(super) fn messages(&self) -> usize {
        self.messages.min(self.messages_max)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.min(self.bytes_max)
    }

    /// The way to the broker may be another one.
    pub(super) const fn reconnected(&mut self) {
        self.fastest = None;
    }

    /// Takes the acknowledgement of a message of this size. `is_used`: the window limits what is sent; one that does not is not widened.
    pub(super) fn acknowledged(
        &mut self,
        (sent, now): (Instant, Instant),
        size: usize,
        is_used: bool,
        ack_timeout: Duration,
    ) {
        let took = now.saturating_duration_since(sent);
        let fastest = self.fastest.map_or(took, |fastest| fastest.min(took));
        self.fastest = Some(fastest);
        // A smaller window does not shorten a long way.
        let slow = (ack_timeout / SLOW_PART).max(fastest.saturating_mul(2));
        if took > slow {
            if self.reduced_at.is_none_or(|reduced_at| sent >= reduced_at) {
                self.reduce(now);
            }
        } else if is_used && took <= slow / 4 * 3 {
            // Both double while all of a full window is acknowledged.
            self.messages = self.messages().saturating_add(1);
            self.bytes = self.bytes().saturating_add(size.max(self.bytes_max / self.messages_max.max(1)));
        }
    }

    fn reduce(&mut self, now: Instant) {
        let (messages_min, bytes_min) = SEND_WINDOW_MIN;
        self.messages = (self.messages() / 4 * 3).max(messages_min);
        self.bytes = (self.bytes() / 4 * 3).max(bytes_min);
        self.reduced_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn the_window_shrinks_while_acknowledgements_are_slow_and_grows_while_it_is_used_and_they_are_fast() {
        let start = Instant::now();
        let mut window = SendWindow::new(4_096, 16 << 20);
        let ms = |ms| start + Duration::from_millis(ms);
        for _ in 0..10_000 {
            window.acknowledged((start, ms(10)), 1_000, false, TIMEOUT);
        }
        assert_eq!((window.messages(), window.bytes()), SEND_WINDOW_FIRST, "it did not limit");
        for _ in 0..10_000 {
            window.acknowledged((start, ms(10)), 1_000, true, TIMEOUT);
        }
        assert_eq!((window.messages(), window.bytes()), (4_096, 16 << 20));
        for _ in 0..1_000 {
            window.acknowledged((start, ms(4_000)), 1_000, true, TIMEOUT);
        }
        assert_eq!(window.messages(), 3_072, "one round trip, one reduction");
        for round in 1..100 {
            window.acknowledged((ms(round * 4_000), ms((round + 1) * 4_000)), 1_000, true, TIMEOUT);
        }
        assert_eq!((window.messages(), window.bytes()), SEND_WINDOW_MIN);
    }

    #[test]
    fn a_long_way_without_a_queue_does_not_shrink_the_window() {
        let start = Instant::now();
        let mut window = SendWindow::new(256, 1 << 20);
        for round in 0..100 {
            let sent = start + Duration::from_secs(round * 3);
            window.acknowledged((sent, sent + Duration::from_secs(2)), 100, true, TIMEOUT);
        }
        assert_eq!(window.messages(), 256);
    }

    /// A long way takes a little longer each time than the once that was the fastest.
    #[test]
    fn a_long_way_whose_time_varies_widens_the_window() {
        let start = Instant::now();
        let mut window = SendWindow::new(4_096, 16 << 20);
        for message in 0..10_000 {
            let took = Duration::from_millis(700 + message * 7 % 15);
            window.acknowledged((start, start + took), 1_000, true, TIMEOUT);
        }
        assert_eq!((window.messages(), window.bytes()), (4_096, 16 << 20));
    }
}
