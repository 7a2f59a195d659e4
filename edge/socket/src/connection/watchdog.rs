//! When a stream's silence means that it is frozen although its connection stands.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::SILENCE_RETRY_MAX;

/// What to do about a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing before that time.
    Fine(Instant),
    /// It became silent: say so and ask for it again, unless that was done too often.
    Silent { silence: Duration, resubscribe: bool },
    /// It stayed silent after that: replace the connection, for the first time in this episode or again.
    Reconnect { first: bool },
}

/// Watches one stream over the generations of its connection.
#[derive(Debug)]
pub(crate) struct StreamWatch {
    expected: Duration,
    /// Silence counts from here, or from the newest frame if that is later.
    baseline: Instant,
    /// Since when it is silent, and how often the connection was replaced for it.
    episode: Option<(Instant, u32)>,
    /// When it was last asked for again, and how long to wait before the next time.
    resubscribed: Option<(Instant, Duration)>,
}

impl StreamWatch {
    /// `None` for a stream whose silence is normal.
    pub(crate) fn new(expected_silence_ms: u32, now: Instant) -> Option<Self> {
        let expected = Duration::from_millis(u64::from(expected_silence_ms));
        let watch = Self { expected, baseline: now, episode: None, resubscribed: None };
        (expected_silence_ms > 0).then_some(watch)
    }

    /// A new generation serves: the stream has its time again. A running episode goes on.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.baseline = now;
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.episode.is_some()
    }

    /// Looks at the stream. `seen` is when its newest frame was seen.
    pub(crate) fn check(&mut self, now: Instant, seen: Option<Instant>) -> Verdict {
        if let (Some((began, _)), Some(seen)) = (self.episode, seen)
            && seen > began
        {
            self.episode = None;
        }
        let quiet_since = seen.map_or(self.baseline, |seen| seen.max(self.baseline));
        let due = quiet_since + self.patience();
        if now < due {
            return Verdict::Fine(due);
        }
        self.baseline = now;
        match self.episode {
            None => {
                self.episode = Some((now, 0));
                Verdict::Silent { silence: now - quiet_since, resubscribe: self.may_resubscribe(now) }
            }
            Some((_, reconnects)) => Verdict::Reconnect { first: reconnects == 0 },
        }
    }

    /// The connection is replaced, for whichever of its streams.
    pub(crate) fn reconnecting(&mut self) {
        if let Some((_, reconnects)) = &mut self.episode {
            *reconnects = reconnects.saturating_add(1);
        }
    }

    /// Once more the expected silence before the first reconnect, then twice as long each time: a stream that
    /// is dead at the venue must not cost the connection's other streams a reconnect every few seconds.
    fn patience(&self) -> Duration {
        let reconnects = self.episode.map_or(0, |(_, reconnects)| reconnects);
        self.expected.saturating_mul(2u32.saturating_pow(reconnects.min(20))).min(self.longest())
    }

    fn longest(&self) -> Duration {
        self.expected.max(SILENCE_RETRY_MAX)
    }

    /// A stream that falls silent again and again is asked for more and more rarely: venues limit
    /// subscriptions.
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

    /// Goal: a frozen stream is reported once, asked for again, then reconnected with growing patience; a
    /// frame ends the episode. Method: a simulated clock.
    #[test]
    fn an_episode_is_reported_once_and_reconnects_grow_rarer() {
        let start = Instant::now();
        let mut watch = StreamWatch::new(10_000, start).unwrap();
        let at = |seconds: u32| start + SECOND * seconds;
        assert_eq!(watch.check(at(3), Some(at(2))), Verdict::Fine(at(12)));
        let silent = |resubscribe| Verdict::Silent { silence: SECOND * 10, resubscribe };
        assert_eq!(watch.check(at(12), Some(at(2))), silent(true));
        assert_eq!(watch.check(at(21), Some(at(2))), Verdict::Fine(at(22)));
        // Held back: it asks again after the same time.
        assert_eq!(watch.check(at(22), Some(at(2))), Verdict::Reconnect { first: true });
        assert_eq!(watch.check(at(32), Some(at(2))), Verdict::Reconnect { first: true });
        watch.reconnecting();
        watch.restart(at(33));
        assert_eq!(watch.check(at(34), Some(at(2))), Verdict::Fine(at(53)));
        assert_eq!(watch.check(at(53), Some(at(2))), Verdict::Reconnect { first: false });
        watch.reconnecting();
        assert_eq!(watch.check(at(54), Some(at(2))), Verdict::Fine(at(93)));
        assert_eq!(watch.check(at(61), Some(at(60))), Verdict::Fine(at(70)));
        assert!(!watch.is_silent());
        assert_eq!(watch.check(at(70), Some(at(60))), silent(true));
    }

    /// Goal: a stream that falls silent again and again is asked for more and more rarely, and often again
    /// after a long good time. Method: a frame every 11 seconds for an hour, then nothing to complain of for
    /// an hour.
    #[test]
    fn a_flapping_stream_is_asked_for_more_and_more_rarely() {
        let start = Instant::now();
        let mut watch = StreamWatch::new(10_000, start).unwrap();
        let mut asked = Vec::new();
        for round in 0..327u32 {
            let frame = start + SECOND * 11 * round;
            assert!(matches!(watch.check(frame, Some(frame)), Verdict::Fine(_)));
            match watch.check(frame + SECOND * 10, Some(frame)) {
                Verdict::Silent { resubscribe: true, .. } => asked.push(round),
                Verdict::Silent { resubscribe: false, .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(asked.len() >= 6 && asked.len() <= 12, "{asked:?}");
        let later = start + SECOND * 2 * 3600;
        assert!(matches!(watch.check(later, Some(later)), Verdict::Fine(_)));
        let verdict = watch.check(later + SECOND * 10, Some(later));
        assert_eq!(verdict, Verdict::Silent { silence: SECOND * 10, resubscribe: true });
    }

    /// Goal: silence counts from the subscription, not from a frame of an earlier connection. Method: an old
    /// frame.
    #[test]
    fn a_new_generation_gets_its_time() {
        let start = Instant::now();
        let mut watch = StreamWatch::new(10_000, start).unwrap();
        watch.restart(start + SECOND * 100);
        let verdict = watch.check(start + SECOND * 105, Some(start + SECOND));
        assert_eq!(verdict, Verdict::Fine(start + SECOND * 110));
    }

    /// Goal: streams whose silence is normal are not watched. Method: 0.
    #[test]
    fn zero_means_silence_is_normal() {
        assert!(StreamWatch::new(0, Instant::now()).is_none());
    }
}
