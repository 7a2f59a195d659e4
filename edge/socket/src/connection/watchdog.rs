//! When a stream's silence means that it is frozen although its connection stands.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::SILENCE_RETRY_MAX;

/// What to do about a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing before that time.
    Fine(Instant),
    /// It became silent: say so and ask for it again.
    Silent(Duration),
    /// It stayed silent after that: replace the connection.
    Reconnect,
}

/// Watches one stream over the generations of its connection.
#[derive(Debug)]
pub(crate) struct StreamWatch {
    expected: Duration,
    /// Silence counts from here, or from the newest frame if that is later.
    baseline: Instant,
    /// Since when it is silent, and how often something was done about it.
    episode: Option<(Instant, u32)>,
}

impl StreamWatch {
    /// `None` for a stream whose silence is normal.
    pub(crate) fn new(expected_silence_ms: u32, now: Instant) -> Option<Self> {
        let expected = Duration::from_millis(u64::from(expected_silence_ms));
        (expected_silence_ms > 0).then_some(Self { expected, baseline: now, episode: None })
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
                self.episode = Some((now, 1));
                Verdict::Silent(now - quiet_since)
            }
            Some((began, done)) => {
                self.episode = Some((began, done.saturating_add(1)));
                Verdict::Reconnect
            }
        }
    }

    /// Once more the expected silence before the first reconnect, then twice as long each time: a stream that
    /// is dead at the venue must not cost the connection's other streams a reconnect every few seconds.
    fn patience(&self) -> Duration {
        let done = self.episode.map_or(0, |(_, done)| done);
        let factor = 2u32.saturating_pow(done.saturating_sub(1).min(20));
        self.expected.saturating_mul(factor).min(self.expected.max(SILENCE_RETRY_MAX))
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
        assert_eq!(watch.check(at(12), Some(at(2))), Verdict::Silent(SECOND * 10));
        assert_eq!(watch.check(at(21), Some(at(2))), Verdict::Fine(at(22)));
        assert_eq!(watch.check(at(22), Some(at(2))), Verdict::Reconnect);
        watch.restart(at(23));
        assert_eq!(watch.check(at(24), Some(at(2))), Verdict::Fine(at(43)));
        assert_eq!(watch.check(at(43), Some(at(2))), Verdict::Reconnect);
        assert_eq!(watch.check(at(44), Some(at(2))), Verdict::Fine(at(83)));
        assert_eq!(watch.check(at(51), Some(at(50))), Verdict::Fine(at(60)));
        assert!(!watch.is_silent());
        assert_eq!(watch.check(at(60), Some(at(50))), Verdict::Silent(SECOND * 10));
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
