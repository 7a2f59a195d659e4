//! Pauses between tries: they double up to a bound, with jitter. Crates for this sleep and retry by themselves; callers here wait
//! between other work, so the pause is only calculated.

use std::time::Duration;

/// Pauses of one operation that is tried again and again.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
    /// The share of a pause that is never cut by jitter, in halves: 0 or 1.
    kept_halves: u32,
}

impl Backoff {
    /// Each pause is random between half and all of `first`, then of its doubles up to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first, kept_halves: 1 }
    }

    /// Each pause is random from zero, so that many clients of one server spread over the whole time.
    pub const fn with_full_jitter(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first, kept_halves: 0 }
    }

    /// The pause after a failure.
    pub fn pause(&mut self) -> Duration {
        let whole = self.next.min(self.max);
        self.next = whole.saturating_mul(2).min(self.max);
        let kept = whole / 2 * self.kept_halves;
        kept + jitter(whole.saturating_sub(kept))
    }

    /// The pause after the end of something that was up for `lived`: from `healthy_after` on, it starts from the shortest again.
    pub fn pause_after(&mut self, lived: Duration, healthy_after: Duration) -> Duration {
        if lived >= healthy_after {
            self.reset();
        }
        self.pause()
    }

    /// Starts from the shortest pause again.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A random time from zero to `most`, in steps of a microsecond.
pub fn jitter(most: Duration) -> Duration {
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(rand::random_range(0..=micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(250);
    const MAX: Duration = Duration::from_secs(60);

    #[test]
    fn pauses_double_up_to_the_bound_and_full_jitter_spreads_them() {
        let (mut largest, mut smallest) = (Duration::ZERO, Duration::MAX);
        for _ in 0..200 {
            let mut backoff = Backoff::with_full_jitter(FIRST, MAX);
            for failure in 0..40 {
                let most = Duration::from_millis(250_u64 << failure.min(20)).min(MAX);
                let pause = backoff.pause();
                assert!(pause <= most, "{pause:?} after {failure} failures");
                if failure == 39 {
                    (largest, smallest) = (largest.max(pause), smallest.min(pause));
                }
            }
        }
        assert!(largest > Duration::from_secs(50) && smallest < Duration::from_secs(10));
    }

    #[test]
    fn half_jitter_never_hammers_a_server_in_trouble() {
        let mut backoff = Backoff::new(FIRST, MAX);
        let pauses: Vec<Duration> = (0..12).map(|_| backoff.pause()).collect();
        assert!(pauses.iter().all(|pause| *pause >= FIRST / 2 && *pause <= MAX));
        assert!(pauses.last().is_some_and(|last| *last >= MAX / 2));
    }

    #[test]
    fn a_healthy_life_resets_the_pause() {
        let mut backoff = Backoff::with_full_jitter(FIRST, MAX);
        for _ in 0..5 {
            backoff.pause_after(Duration::from_secs(59), MAX);
        }
        assert_eq!(backoff.next, Duration::from_secs(8));
        backoff.pause_after(MAX, MAX);
        assert_eq!(backoff.next, Duration::from_millis(500));
    }
}
