//! When a poll is asked.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::random_up_to;
use crate::limits::{POLL_JITTER_MAX, POLL_SPREAD_MAX};

/// The times of a poll: multiples of the period after its first time, each a little late by chance.
#[derive(Debug)]
pub(crate) struct Schedule {
    next: Instant,
    period: Duration,
}

impl Schedule {
    /// The polls of a feed are spread evenly over the period, so that they do not come in bursts; over a part
    /// of it where it is so long that the last would have nothing for too long.
    pub(crate) fn new(start: Instant, period: Duration, index: usize, count: usize) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        Self { next: start + period.min(POLL_SPREAD_MAX) / count * index, period }
    }

    /// Moves all times by `wait`.
    pub(crate) fn delay(&mut self, wait: Duration) {
        self.next += wait;
    }

    /// When to poll next.
    pub(crate) fn at(&self) -> Instant {
        self.next + random_up_to((self.period / 20).min(POLL_JITTER_MAX))
    }

    /// A round ended at `now`. Sets the next time after it and gives how many were passed over; one that came
    /// before its time takes none.
    pub(crate) fn advance(&mut self, now: Instant) -> u64 {
        if self.next > now {
            return 0;
        }
        self.next += self.period;
        self.pass_until(now)
    }

    /// Passes over the times before `until` and gives their number.
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

    /// Goal: a poll that takes too long passes over its missed times and counts them; the phase stays; a
    /// round before its time takes none. Method: a simulated clock.
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
}
