//! Exponential back-off with full jitter, so that many clients do not return at once.

use std::time::Duration;

use crate::options::BackoffOptions;

#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    options: BackoffOptions,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(options: BackoffOptions) -> Self {
        Self { options, failures: 0 }
    }

    fn ceiling(&self) -> Duration {
        let factor = 2u32.checked_pow(self.failures).unwrap_or(u32::MAX);
        self.options.base.saturating_mul(factor).min(self.options.cap)
    }

    /// Counts a failure and returns the wait after it.
    pub(crate) fn failed(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        jitter(ceiling)
    }

    /// Counts the end of a connection that was open for `lived`.
    pub(crate) fn ended_after(&mut self, lived: Duration) -> Duration {
        if lived >= self.options.healthy_after {
            self.failures = 0;
        }
        self.failed()
    }
}

/// Uniform in 0..=`ceiling`, in microseconds.
pub(crate) fn jitter(ceiling: Duration) -> Duration {
    let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(rand::random_range(0..=micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> BackoffOptions {
        BackoffOptions {
            base: Duration::from_millis(250),
            cap: Duration::from_secs(60),
            healthy_after: Duration::from_secs(60),
        }
    }

    #[test]
    fn waits_double_up_to_the_cap_and_are_jittered() {
        let mut largest = Duration::ZERO;
        let mut smallest = Duration::MAX;
        for _ in 0..200 {
            let mut backoff = Backoff::new(options());
            for failure in 0..40 {
                let ceiling = Duration::from_millis(250u64 << failure.min(20)).min(Duration::from_secs(60));
                let wait = backoff.failed();
                assert!(wait <= ceiling, "wait {wait:?} after {failure} failures");
                if failure == 39 {
                    largest = largest.max(wait);
                    smallest = smallest.min(wait);
                }
            }
        }
        assert!(largest > Duration::from_secs(50) && smallest < Duration::from_secs(10));
    }

    #[test]
    fn a_healthy_life_resets_the_wait() {
        let mut backoff = Backoff::new(options());
        for _ in 0..5 {
            backoff.ended_after(Duration::from_secs(59));
        }
        assert_eq!(backoff.ceiling(), Duration::from_secs(8));
        backoff.ended_after(Duration::from_secs(60));
        assert_eq!(backoff.ceiling(), Duration::from_millis(500));
    }
}
