//! Pauses between retries.

use std::time::Duration;

use rand::Rng as _;

use crate::limits;

/// Pauses between tries: doubling, jittered by half, bounded.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// Starts with the shortest pause.
    pub const fn new() -> Self {
        Self { next: limits::BACKOFF_FIRST }
    }

    pub fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(limits::BACKOFF_MAX);
        whole.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: pauses grow, stay bounded, and are never so short that a server in trouble is hammered.
    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..12).map(|_| backoff.pause()).collect();
        assert!(pauses.iter().all(|p| *p >= limits::BACKOFF_FIRST / 2 && *p <= limits::BACKOFF_MAX));
        assert!(pauses[11] >= limits::BACKOFF_MAX / 2);
    }
}
