//! Log lines about trouble that may come with every frame.

use std::time::Instant;

use crate::limits::LOG_EVERY;

/// Lets one line through per [`LOG_EVERY`] and counts the rest.
#[derive(Debug, Default)]
pub struct LogLimit {
    last: Option<Instant>,
    held_back: u64,
}

impl LogLimit {
    /// Whether to write a line now. Gives the number of lines that were held back since the one before.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < LOG_EVERY) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Goal: a flood becomes one line per interval that tells how many were held back.
    #[test]
    fn a_flood_becomes_one_line_with_a_count() {
        let mut limit = LogLimit::default();
        let start = Instant::now();
        assert_eq!(limit.allow(start), Some(0));
        for _ in 0..1_000 {
            assert_eq!(limit.allow(start + Duration::from_millis(1)), None);
        }
        assert_eq!(limit.allow(start + LOG_EVERY), Some(1_000));
    }
}
