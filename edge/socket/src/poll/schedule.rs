//! Times of a poll: soon after the start, then at its own place in every period, with jitter.

use std::time::Duration;

use marketprism_service::jitter;
use tokio::time::Instant;

use crate::limits::{POLL_FIRST_MAX, POLL_JITTER_MAX};

#[derive(Debug)]
pub(crate) struct Schedule {
    /// Until it has passed.
    first: Option<Instant>,
    next: Instant,
    period: Duration,
}

impl Schedule {
    /// The `index`th of `count` polls. Places are spread evenly over the period to avoid bursts, but the
    /// first request comes soon, so that a failing poll shows early.
    pub(crate) fn new(start: Instant, period: Duration, index: usize, count: usize) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        let first = start + period.min(POLL_FIRST_MAX) / count * index;
        Self { first: Some(first), next: start + period / count * index, period }
    }

    pub(crate) fn delay(&mut self, wait: Duration) {
        self.first = self.first.map(|first| first + wait);
        self.next += wait;
    }

    pub(crate) fn at(&self) -> Instant {
        self.first.unwrap_or(self.next) + jitter((self.period / 20).min(POLL_JITTER_MAX))
    }

    /// Sets the next time after a round that ended at `now`; returns the number of skipped times.
    pub(crate) fn advance(&mut self, now: Instant) -> u64 {
        self.first = None;
        if self.next > now {
            return 0;
        }
        self.next += self.period;
        self.pass_until(now)
    }

    /// Skips the times before `until` and returns their number.
    pub(crate) fn pass_until(&mut self, until: Instant) -> u64 {
        let mut passed = 0;
        while self.next < until {
            self.next += self.period;
            passed += 1;
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_times_are_passed_over() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new(start, second * 10, 1, 4);
        assert_eq!(schedule.next, start + Duration::from_millis(2500));
        assert_eq!(schedule.advance(start + second * 3), 0);
        assert_eq!(schedule.next, start + Duration::from_millis(12_500));
        assert_eq!(schedule.advance(start + second * 7), 0);
        assert_eq!(schedule.next, start + Duration::from_millis(12_500));
        assert_eq!(schedule.advance(start + second * 45), 3);
        assert_eq!(schedule.next, start + Duration::from_millis(52_500));
    }

    #[test]
    fn many_polls_are_asked_soon_and_then_spread_evenly() {
        const COUNT: usize = 600;
        let start = Instant::now();
        let period = Duration::from_secs(300);
        let mut places = Vec::new();
        for index in 0..COUNT {
            let mut schedule = Schedule::new(start, period, index, COUNT);
            schedule.delay(Duration::from_secs(1));
            let mut before = schedule.at();
            assert!(before < start + Duration::from_secs(1) + POLL_FIRST_MAX + POLL_JITTER_MAX);
            for _ in 0..3 {
                assert_eq!(schedule.advance(before), 0);
                let at = schedule.at();
                assert!(at > before && at - before <= period + POLL_JITTER_MAX);
                before = at;
            }
            places.push(before);
        }
        for second in 0..300u32 {
            let from = start + period * 2 + Duration::from_secs(second.into());
            let burst =
                places.iter().filter(|at| **at >= from && **at < from + Duration::from_secs(1)).count();
            assert!(burst <= 10, "{burst} polls within a second");
        }
    }
}
