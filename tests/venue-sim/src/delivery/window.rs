//! Rolling window counter.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::venue::PerWindow;

#[derive(Debug)]
pub struct Rolling {
    limit: PerWindow,
    times: VecDeque<Instant>,
}

impl Rolling {
    pub fn new(limit: PerWindow) -> Rolling {
        Rolling { limit, times: VecDeque::new() }
    }

    pub fn per_second(max: usize) -> Rolling {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        Rolling::new(PerWindow { max, window: Duration::from_secs(1) })
    }

    pub fn is_full(&mut self, now: Instant) -> bool {
        while self.times.front().is_some_and(|at| now.duration_since(*at) >= self.limit.window) {
            self.times.pop_front();
        }
        self.times.len() >= usize::try_from(self.limit.max).unwrap_or(usize::MAX)
    }

    pub fn take(&mut self, now: Instant) -> bool {
        if self.limit.max == u32::MAX {
            return true;
        }
        let full = self.is_full(now);
        // Entries over the limit count too.
        if full {
            self.times.pop_front();
        }
        self.times.push_back(now);
        !full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_holds_more_than_allowed() {
        let mut rolling = Rolling::new(PerWindow { max: 3, window: Duration::from_secs(10) });
        let start = Instant::now();
        let mut at = |s: u64| rolling.take(start + Duration::from_secs(s));
        assert_eq!(
            [at(0), at(4), at(5), at(9), at(20), at(21), at(22), at(23)],
            [true, true, true, false, true, true, true, false]
        );
    }
}
