//! Times of a poll (soon after the start, then at its own place in every period, with jitter), and the time
//! window of its requests without holes between answers.
//! A window's start goes back to the end of the previous answer, by two window lengths at most because
//! venues refuse or cut longer windows. A remaining hole is reported.

use std::time::Duration;

use marketprism_adapter_host::contract::TimeWindow;
use marketprism_service::jitter;
use tokio::time::Instant;
use url::Url;

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

#[derive(Debug)]
pub(crate) struct CoveredTime {
    window: TimeWindow,
    /// Everything before it has been answered, milliseconds since 1970.
    covered: Option<i64>,
    /// Window of the newest request.
    requested: (i64, i64),
}

impl CoveredTime {
    pub(crate) fn new(window: TimeWindow) -> Self {
        Self { window, covered: None, requested: (0, 0) }
    }

    /// Adds both ends to the URL of a request sent at `now_ms`.
    pub(crate) fn stamp(&mut self, url: &mut Url, now_ms: i64) {
        let usual = now_ms - i64::from(self.window.from_ago_ms);
        let to = now_ms - i64::from(self.window.to_ago_ms);
        let earliest = usual - (to - usual) * 2;
        let from = self.covered.map_or(usual, |covered| covered.clamp(earliest, usual));
        self.requested = (from, to);
        url.query_pairs_mut()
            .append_pair(&self.window.from_parameter, &from.to_string())
            .append_pair(&self.window.to_parameter, &to.to_string());
    }

    /// Returns the hole before the newest answer.
    pub(crate) fn answered(&mut self) -> Option<Duration> {
        let (from, to) = self.requested;
        let hole = self.covered.map_or(0, |covered| from - covered);
        self.covered = Some(to);
        u64::try_from(hole).ok().filter(|hole| *hole > 0).map(Duration::from_millis)
    }

    /// The answer gave nothing, or a further page is missing: the whole window is requested again.
    pub(crate) fn incomplete(&mut self) {
        self.covered = Some(self.requested.0);
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

    fn covered_time() -> CoveredTime {
        let (from_parameter, to_parameter) = ("start".to_owned(), "end".to_owned());
        CoveredTime::new(TimeWindow { from_parameter, to_parameter, from_ago_ms: 5000, to_ago_ms: 3000 })
    }

    fn stamped(covered: &mut CoveredTime, now_ms: i64) -> String {
        let mut url = Url::parse("http://venue/trades?coin=BTC").unwrap();
        covered.stamp(&mut url, now_ms);
        url.query().unwrap().to_owned()
    }

    #[test]
    fn parameters_are_added_to_any_query() {
        for (plain, wanted) in [
            ("http://venue/trades", "http://venue/trades?start=95000&end=97000"),
            ("http://venue/trades?", "http://venue/trades?start=95000&end=97000"),
            ("http://venue/trades?a=b%20c#d", "http://venue/trades?a=b%20c&start=95000&end=97000#d"),
        ] {
            let mut url = Url::parse(plain).unwrap();
            covered_time().stamp(&mut url, 100_000);
            assert_eq!(url.as_str(), wanted);
        }
    }

    #[test]
    fn consecutive_answers_leave_no_hole() {
        let mut covered = covered_time();
        assert_eq!(stamped(&mut covered, 100_000), "coin=BTC&start=95000&end=97000");
        assert_eq!(covered.answered(), None);
        assert_eq!(stamped(&mut covered, 102_900), "coin=BTC&start=97000&end=99900");
        // That request failed: its window is requested again.
        assert_eq!(stamped(&mut covered, 103_000), "coin=BTC&start=97000&end=100000");
        assert_eq!(covered.answered(), None);
        assert_eq!(stamped(&mut covered, 104_000), "coin=BTC&start=99000&end=101000");
        assert_eq!(covered.answered(), None);
        assert_eq!(stamped(&mut covered, 111_000), "coin=BTC&start=102000&end=108000");
        assert_eq!(covered.answered(), Some(Duration::from_millis(1000)));
        assert_eq!(stamped(&mut covered, 50_000), "coin=BTC&start=45000&end=47000");
        assert_eq!(covered.answered(), None);
    }

    #[test]
    fn an_incomplete_answer_is_asked_for_again() {
        let mut covered = covered_time();
        stamped(&mut covered, 100_000);
        covered.answered();
        stamped(&mut covered, 102_000);
        covered.answered();
        covered.incomplete();
        assert_eq!(stamped(&mut covered, 104_000), "coin=BTC&start=97000&end=101000");
    }
}
