//! Time window of a poll's requests, without holes between consecutive answers.
//! A window is relative to the time of the request, which varies by jitter, budgets and failed rounds. Its
//! start goes back to the end of the previous answer, by two window lengths at most because venues refuse
//! or cut longer windows. A remaining hole is reported.

use std::time::Duration;

use marketprism_adapter_host::contract::TimeWindow;
use url::Url;

#[derive(Debug)]
pub(crate) struct CoveredTime {
    window: TimeWindow,
    /// Everything before it has been answered, milliseconds since 1970.
    covered: Option<i64>,
    /// Window of the newest request.
    asked: (i64, i64),
}

impl CoveredTime {
    pub(crate) fn new(window: TimeWindow) -> Self {
        Self { window, covered: None, asked: (0, 0) }
    }

    /// Adds both ends to the URL of a request sent at `now_ms`.
    pub(crate) fn stamp(&mut self, url: &mut Url, now_ms: i64) {
        let usual = now_ms - i64::from(self.window.from_ago_ms);
        let to = now_ms - i64::from(self.window.to_ago_ms);
        let earliest = usual - (to - usual) * 2;
        let from = self.covered.map_or(usual, |covered| covered.clamp(earliest, usual));
        self.asked = (from, to);
        url.query_pairs_mut()
            .append_pair(&self.window.from_parameter, &from.to_string())
            .append_pair(&self.window.to_parameter, &to.to_string());
    }

    /// Returns the hole before the newest answer.
    pub(crate) fn answered(&mut self) -> Option<Duration> {
        let (from, to) = self.asked;
        let hole = self.covered.map_or(0, |covered| from - covered);
        self.covered = Some(to);
        u64::try_from(hole).ok().filter(|hole| *hole > 0).map(Duration::from_millis)
    }

    /// A further page is missing: the whole window is requested again.
    pub(crate) fn incomplete(&mut self) {
        self.covered = Some(self.asked.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
