//! Detects connections without any event whose streams each may be silent: their venue may answer pings and send nothing else.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::SILENCE_RETRY_MAX;

#[derive(Debug)]
pub(crate) struct MuteWatch {
    allowed: Duration,
    /// The time without an event counts from here, or from a later event.
    baseline: Instant,
    /// Doubled with each replacement: rare instruments must not cost one every few minutes.
    patience: Duration,
}

impl MuteWatch {
    pub(crate) const fn new(allowed: Duration, now: Instant) -> Self {
        Self { allowed, baseline: now, patience: allowed }
    }

    /// A new generation serves, or something else watches the connection. Returns the time of the next look.
    pub(crate) fn restart(&mut self, now: Instant) -> Instant {
        self.baseline = now;
        now + self.allowed
    }

    /// Nothing could come before.
    pub(crate) fn expect_from(&mut self, since: Instant) {
        self.baseline = self.baseline.max(since);
    }

    /// `seen` is the time of the newest event. Returns the time of the next look; `None`: the connection is to be replaced.
    pub(crate) fn check(&mut self, now: Instant, seen: Option<Instant>) -> Option<Instant> {
        let heard = seen.filter(|seen| *seen > self.baseline);
        // Rows that a subscription begins with are no sign of life.
        if heard.is_some_and(|heard| heard >= self.baseline + self.allowed) {
            self.patience = self.allowed;
        }
        let due = heard.unwrap_or(self.baseline) + self.patience;
        if now < due {
            return Some(due);
        }
        self.baseline = now;
        self.patience = self.patience.saturating_mul(2).min(self.allowed.max(SILENCE_RETRY_MAX));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_connection_without_an_event_is_replaced_more_and_more_rarely_until_it_brings_some() {
        let start = Instant::now();
        let at = |minutes: u32| start + MINUTE * minutes;
        let mut watch = MuteWatch::new(MINUTE * 5, start);
        assert_eq!(watch.check(at(3), None), Some(at(5)));
        assert_eq!(watch.check(at(5), Some(at(1))), Some(at(6)), "an event came");
        assert_eq!(watch.check(at(6), Some(at(1))), None);
        // What each subscription begins with.
        for (began, due) in [(6, 17), (17, 33), (33, 49)] {
            watch.restart(at(began));
            assert_eq!(watch.check(at(began + 2), Some(at(began + 1))), Some(at(due)));
            assert_eq!(watch.check(at(due), Some(at(began + 1))), None);
        }
        watch.restart(at(49));
        assert_eq!(watch.check(at(60), Some(at(56))), Some(at(61)), "it brings events");
        assert_eq!(watch.check(at(61), Some(at(56))), None);
    }
}
