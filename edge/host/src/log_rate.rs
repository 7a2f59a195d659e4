//! Rate limit for log lines: a number per second, unlike the service crate's one per interval.

use std::time::{Duration, Instant};

/// Passes a number of lines per second.
#[derive(Debug)]
pub(crate) struct LogRate {
    per_second: u32,
    second: Instant,
    passed: u32,
}

impl LogRate {
    pub(crate) fn new(per_second: u32) -> Self {
        LogRate { per_second, second: Instant::now(), passed: 0 }
    }

    pub(crate) fn pass(&mut self) -> bool {
        self.pass_at(Instant::now())
    }

    fn pass_at(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.passed = 0;
        }
        self.passed = self.passed.saturating_add(1);
        self.passed <= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_passes_its_share() {
        let mut gate = LogRate::new(2);
        let start = gate.second;
        let passed: Vec<bool> = [0, 10, 20, 999, 1_000, 1_001, 1_002]
            .map(|ms| gate.pass_at(start + Duration::from_millis(ms)))
            .to_vec();
        assert_eq!(passed, [true, true, false, false, true, true, false]);
    }
}
