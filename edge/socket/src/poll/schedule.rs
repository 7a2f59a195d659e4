//! When a poll is asked.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::random_up_to;
use crate::limits::{POLL_FIRST_MAX, POLL_JITTER_MAX};

/// The times of a poll: soon after the start, then at the poll's own place in every period, each a little late by
/// chance.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Until it has passed.
    first: Option<Instant>,
    next: Instant,
    period: Duration,
}

impl Schedule {
    /// The `index`th of `count` polls. The places of a feed's polls are spread evenly over the period, so that they
    /// do not come in bursts. Each is asked for the first time soon, whatever its place: nobody should wait for
    /// a long period to see whether it works.
    pub(crate) fn new(start: Instant, period: Duration, index: usize, count: usize) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        let first = start + period.min(POLL_FIRST_MAX) / count * index;
        Self { first: Some(first), next: start + period / count * index, period }
    }

    /// Moves all times by `wait`.
    pub(crate) fn delay(&mut self, wait: Duration) {
        self.first = self.first.map(|first| first + wait);
        self.next += wait;
    }

    /// When to poll next.
    pub(crate) fn at(&self) -> Instant {
        self.first.unwrap_or(self.next) + random_up_to((self.period / 20).min(POLL_JITTER_MAX))
    }

    /// A round ended at `now`. Sets the next time after it and gives how many were passed over; one that came
    /// before its time takes none.
    pub(crate) fn advance(&mut self, now: Instant) -> u64 {
        self.first = None;
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

    /// Goal: with hundreds of polls of a long period each is asked soon, then at its place, never more than a period
    /// apart, and the places are spread evenly. Method: a simulated clock, 600 polls of five minutes.
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
