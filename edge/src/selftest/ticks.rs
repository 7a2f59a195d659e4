//! Ticks of the synthetic stream by the wall clock.

use std::ops::Range;
use std::time::Duration;

use crate::limits::SELFTEST_CATCH_UP;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Numbers ticks since 1970, so that a number is the same in every run. Each number is given once, rising.
#[derive(Debug)]
pub struct Ticks {
    period_ns: i64,
    next: i64,
}

impl Ticks {
    /// From the first tick at or after `since_ns`.
    pub fn new(rate: u32, since_ns: i64) -> Self {
        let period_ns = NANOS_PER_SECOND / i64::from(rate.max(1));
        Self { period_ns, next: since_ns.div_euclid(period_ns) + i64::from(since_ns % period_ns != 0) }
    }

    /// Ticks up to now that were not given. After a clock that was set forward by more than [`SELFTEST_CATCH_UP`] the older ones are left
    /// out; after one that was set back there are none until it has caught up.
    pub fn due(&mut self, now_ns: i64) -> Range<i64> {
        let end = now_ns.div_euclid(self.period_ns) + 1;
        let most = i64::try_from(SELFTEST_CATCH_UP.as_nanos()).unwrap_or(i64::MAX) / self.period_ns;
        let begin = self.next.max(end.saturating_sub(most));
        if end <= begin {
            return begin..begin;
        }
        self.next = end;
        begin..end
    }

    pub const fn time_ns(&self, tick: i64) -> i64 {
        tick.saturating_mul(self.period_ns)
    }

    /// Time until the next tick, at most a period.
    pub fn wait(&self, now_ns: i64) -> Duration {
        let wait_ns = self.time_ns(self.next).saturating_sub(now_ns).clamp(0, self.period_ns);
        Duration::from_nanos(u64::try_from(wait_ns).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = NANOS_PER_SECOND;

    #[test]
    fn each_tick_is_given_once_and_none_is_left_out_by_a_late_call() {
        let mut ticks = Ticks::new(2, 10 * SECOND + 1);
        assert_eq!(ticks.due(10 * SECOND + 2), 21..21);
        assert_eq!(ticks.wait(10 * SECOND + 2), Duration::from_nanos(499_999_998));
        assert_eq!(ticks.due(10 * SECOND + SECOND / 2), 21..22);
        assert_eq!(ticks.due(13 * SECOND), 22..27);
        assert_eq!((ticks.time_ns(26), ticks.due(13 * SECOND)), (13 * SECOND, 27..27));
        assert_eq!(Ticks::new(2, 10 * SECOND).due(10 * SECOND), 20..21, "the start is a tick");
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_number_twice_and_one_set_far_forward_no_flood() {
        let mut ticks = Ticks::new(1, 1_000 * SECOND);
        assert_eq!(ticks.due(1_000 * SECOND), 1_000..1_001);
        assert_eq!(ticks.due(900 * SECOND), 1_001..1_001);
        assert_eq!(ticks.wait(900 * SECOND), Duration::from_secs(1), "a stop is noticed");
        assert_eq!(ticks.due(1_001 * SECOND), 1_001..1_002);
        let most = i64::try_from(SELFTEST_CATCH_UP.as_secs()).unwrap();
        let far = 1_002 + 10 * most;
        assert_eq!(ticks.due(far * SECOND), far + 1 - most..far + 1);
    }
}
