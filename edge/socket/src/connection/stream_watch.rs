//! Detects streams that stay silent although their connection is open.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::SILENCE_RETRY_MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamCheck {
    Fine(Instant),
    /// Newly silent: report and resubscribe, unless that was done too often.
    Silent {
        silence: Duration,
        resubscribe: bool,
    },
    Reconnect {
        first: bool,
    },
}

#[derive(Debug)]
pub(crate) struct StreamWatch {
    expected: Duration,
    /// Silence counts from here, or from a later frame.
    baseline: Instant,
    /// Start, and number of reconnects.
    episode: Option<(Instant, u32)>,
    /// Last time, and the wait before the next one.
    resubscribed: Option<(Instant, Duration)>,
}

impl StreamWatch {
    /// `None` for a stream whose silence is normal.
    pub(crate) fn new(expected_silence_ms: u32, now: Instant) -> Option<Self> {
        let expected = Duration::from_millis(u64::from(expected_silence_ms));
        let watch = Self { expected, baseline: now, episode: None, resubscribed: None };
        (expected_silence_ms > 0).then_some(watch)
    }

    /// A new generation serves; a running episode continues.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.baseline = now;
    }

    /// Nothing can come of the stream at the moment, so an episode ends. Returns the time of the next look.
    pub(crate) fn rest(&mut self, now: Instant) -> Instant {
        (self.baseline, self.episode) = (now, None);
        now + self.expected
    }

    /// Nothing could come of the stream before.
    pub(crate) fn expect_from(&mut self, since: Instant) {
        self.baseline = self.baseline.max(since);
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.episode.is_some()
    }

    /// `seen` is the time of the newest frame.
    pub(crate) fn check(&mut self, now: Instant, seen: Option<Instant>) -> StreamCheck {
        if let (Some((began, _)), Some(seen)) = (self.episode, seen)
            && seen > began
        {
            self.episode = None;
        }
        let quiet_since = seen.map_or(self.baseline, |seen| seen.max(self.baseline));
        let due = quiet_since + self.patience();
        if now < due {
            return StreamCheck::Fine(due);
        }
        self.baseline = now;
        match self.episode {
            None => {
                self.episode = Some((now, 0));
                StreamCheck::Silent { silence: now - quiet_since, resubscribe: self.may_resubscribe(now) }
            }
            Some((_, reconnects)) => StreamCheck::Reconnect { first: reconnects == 0 },
        }
    }

    pub(crate) fn reconnecting(&mut self) {
        if let Some((_, reconnects)) = &mut self.episode {
            *reconnects = reconnects.saturating_add(1);
        }
    }

    /// Expected silence, doubled with each reconnect: a stream that is dead at the venue must not cost the
    /// connection's other streams a reconnect every few seconds.
    fn patience(&self) -> Duration {
        let reconnects = self.episode.map_or(0, |(_, reconnects)| reconnects);
        self.expected.saturating_mul(2u32.saturating_pow(reconnects.min(20))).min(self.longest())
    }

    fn longest(&self) -> Duration {
        self.expected.max(SILENCE_RETRY_MAX)
    }

    /// Less often for a stream that falls silent repeatedly: venues limit subscriptions.
    fn may_resubscribe(&mut self, now: Instant) -> bool {
        let longest = self.longest();
        let wait = match self.resubscribed {
            Some((last, wait)) if now < last + wait => return false,
            Some((last, wait)) if now < last + longest * 2 => (wait * 2).min(longest),
            _ => self.expected * 2,
        };
        self.resubscribed = Some((now, wait));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_episode_is_reported_once_and_reconnects_grow_rarer() {
        let start = Instant::now();
        let mut watch = StreamWatch::new(10_000, start).unwrap();
        let at = |seconds: u32| start + SECOND * seconds;
        assert_eq!(watch.check(at(3), Some(at(2))), StreamCheck::Fine(at(12)));
        let silent = |resubscribe| StreamCheck::Silent { silence: SECOND * 10, resubscribe };
        assert_eq!(watch.check(at(12), Some(at(2))), silent(true));
        assert_eq!(watch.check(at(21), Some(at(2))), StreamCheck::Fine(at(22)));
        // Without a reconnect the same time passes again.
        assert_eq!(watch.check(at(22), Some(at(2))), StreamCheck::Reconnect { first: true });
        assert_eq!(watch.check(at(32), Some(at(2))), StreamCheck::Reconnect { first: true });
        watch.reconnecting();
        watch.restart(at(33));
        assert_eq!(watch.check(at(34), Some(at(2))), StreamCheck::Fine(at(53)));
        assert_eq!(watch.check(at(53), Some(at(2))), StreamCheck::Reconnect { first: false });
        watch.reconnecting();
        assert_eq!(watch.check(at(54), Some(at(2))), StreamCheck::Fine(at(93)));
        assert_eq!(watch.check(at(61), Some(at(60))), StreamCheck::Fine(at(70)));
        assert!(!watch.is_silent());
        assert_eq!(watch.check(at(70), Some(at(60))), silent(true));
    }

    #[test]
    fn a_flapping_stream_is_asked_for_more_and_more_rarely() {
        let start = Instant::now();
        let mut watch = StreamWatch::new(10_000, start).unwrap();
        let mut requested = Vec::new();
        for round in 0..327u32 {
            let frame = start + SECOND * 11 * round;
            assert!(matches!(watch.check(frame, Some(frame)), StreamCheck::Fine(_)));
            match watch.check(frame + SECOND * 10, Some(frame)) {
                StreamCheck::Silent { resubscribe: true, .. } => requested.push(round),
                StreamCheck::Silent { resubscribe: false, .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(requested.len() >= 6 && requested.len() <= 12, "{requested:?}");
        let later = start + SECOND * 2 * 3600;
        assert!(matches!(watch.check(later, Some(later)), StreamCheck::Fine(_)));
        let verdict = watch.check(later + SECOND * 10, Some(later));
        assert_eq!(verdict, StreamCheck::Silent { silence: SECOND * 10, resubscribe: true });
    }

    #[test]
    fn a_new_generation_gets_its_time() {
        let start = Instant::now();
        let mut watch = StreamWatch::new(10_000, start).unwrap();
        watch.restart(start + SECOND * 100);
        let verdict = watch.check(start + SECOND * 105, Some(start + SECOND));
        assert_eq!(verdict, StreamCheck::Fine(start + SECOND * 110));
    }

    #[test]
    fn a_stream_that_rested_is_watched_from_its_return_on() {
        let start = Instant::now();
        let at = |seconds: u32| start + SECOND * seconds;
        let mut watch = StreamWatch::new(10_000, start).unwrap();
        assert!(matches!(watch.check(at(10), None), StreamCheck::Silent { .. }));
        assert_eq!(watch.rest(at(12)), at(22));
        assert!(!watch.is_silent());
        watch.expect_from(at(20));
        assert_eq!(watch.check(at(22), None), StreamCheck::Fine(at(30)));
        watch.expect_from(at(20));
        assert!(matches!(watch.check(at(30), None), StreamCheck::Silent { .. }), "a new episode");
    }

    #[test]
    fn zero_means_silence_is_normal() {
        assert!(StreamWatch::new(0, Instant::now()).is_none());
    }
}
