//! Ticks of the synthetic stream by the wall clock.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use marketprism_schema::SELFTEST_CATCH_UP;

use crate::clocks::nanos;
use crate::limits::SELFTEST_RANGES_MAX;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Numbers ticks since 1970, so that a number is the same in every run. Each number is given once.
#[derive(Debug)]
pub struct Ticks {
    period_ns: i64,
    /// The first tick after the last call.
    next: i64,
    /// Most ticks of one call.
    most: i64,
    /// Ranges that were given, by their first tick: the tick after their last one.
    given: BTreeMap<i64, i64>,
}

impl Ticks {
    /// From the first tick at or after `since_ns`.
    pub fn new(rate: u32, since_ns: i64) -> Self {
        let period_ns = NANOS_PER_SECOND / i64::from(rate.max(1));
        let next = since_ns.div_euclid(period_ns) + i64::from(since_ns % period_ns != 0);
        let most = nanos(SELFTEST_CATCH_UP) / period_ns;
        Self { period_ns, next, most, given: BTreeMap::from([(next.saturating_sub(most), next)]) }
    }

    /// Ticks up to now that were not given. After a clock that was set forward by more than [`SELFTEST_CATCH_UP`] the older ones are left
    /// out. After one that was set back they go on where none were given: at once, if that time was left out before.
    pub fn due(&mut self, now_ns: i64) -> Range<i64> {
        let end = now_ns.div_euclid(self.period_ns) + 1;
        self.next = end;
        let before = self.given.range(..end).next_back().map(|(first, given)| (*first, *given));
        let begin = match before {
            Some((_, given)) => given.max(end.saturating_sub(self.most)).min(end),
            None => end - 1,
        };
        if begin < end {
            let first = before.filter(|(_, given)| *given == begin).map_or(begin, |(first, _)| first);
            self.given.insert(first, end);
            if self.given.len() > SELFTEST_RANGES_MAX {
                self.given.pop_first();
            }
        }
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
        assert!(ticks.due(900 * SECOND).is_empty());
        assert_eq!(ticks.wait(900 * SECOND), Duration::from_secs(1), "a stop is noticed");
        assert_eq!(ticks.due(1_001 * SECOND), 1_001..1_002);
        let most = i64::try_from(SELFTEST_CATCH_UP.as_secs()).unwrap();
        let far = 1_002 + 10 * most;
        assert_eq!(ticks.due(far * SECOND), far + 1 - most..far + 1);
    }

    #[test]
    fn a_clock_that_was_far_ahead_for_a_moment_stops_nothing_and_gives_no_number_twice() {
        const DAY: i64 = 86_400;
        let mut ticks = Ticks::new(1, 1_000 * SECOND);
        assert_eq!(ticks.due(1_001 * SECOND), 1_000..1_002);
        let most = i64::try_from(SELFTEST_CATCH_UP.as_secs()).unwrap();
        assert_eq!(ticks.due((DAY + 1) * SECOND), DAY + 2 - most..DAY + 2);
        assert_eq!(ticks.due(1_004 * SECOND), 1_002..1_005);
        assert_eq!(ticks.due(1_005 * SECOND), 1_005..1_006);
        assert!(ticks.due(DAY * SECOND).is_empty());
        assert_eq!(ticks.due((DAY + 2) * SECOND), DAY + 2..DAY + 3);
        let mut ahead = Ticks::new(1, DAY * SECOND);
        assert_eq!(ahead.due(DAY * SECOND), DAY..DAY + 1);
        assert_eq!(ahead.due(1_000 * SECOND), 1_000..1_001, "the start was ahead");
        assert_eq!(ahead.due(1_002 * SECOND), 1_001..1_003);
    }
}
