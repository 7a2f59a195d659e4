//! The venue's limit of messages per connection, as a rolling window. Unlike a budget it counts pongs,
//! which cannot be delayed.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Pacer {
    max: usize,
    /// Messages of `max` reserved for pongs.
    kept_for_pongs: usize,
    /// Longer than the venue's: messages sent a window apart may arrive closer together.
    window: Duration,
    sent: VecDeque<Instant>,
}

impl Pacer {
    pub(crate) fn new(max: u32, window: Duration) -> Self {
        let margin = (window / 10).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let max = usize::try_from(max).unwrap_or(usize::MAX);
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
