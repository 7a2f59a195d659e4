//! The `log` import, the only function of the host that an adapter may call, and its rate limit: a number
//! of lines per second, unlike the service crate's one per interval.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::{Limits, MemoryLimiter};
use crate::stats::Stats;
use crate::v1::marketprism::adapter::{log, types};

/// Host data of one instance.
#[derive(Debug)]
pub(crate) struct StoreState {
    pub(crate) limiter: MemoryLimiter,
    adapter: Arc<str>,
    gate: LogRate,
    line_bytes: usize,
    stats: Arc<Stats>,
}

impl StoreState {
    pub(crate) fn new(adapter: Arc<str>, limits: &Arc<Limits>, stats: &Arc<Stats>) -> Self {
        StoreState {
            limiter: MemoryLimiter::new(Arc::clone(limits), Arc::clone(stats)),
            adapter,
            gate: LogRate::new(limits.log_lines_per_second),
            line_bytes: limits.log_line_bytes,
            stats: Arc::clone(stats),
        }
    }

    /// From here on the instance counts there.
    pub(crate) fn count_in(&mut self, stats: &Arc<Stats>) {
        self.limiter.count_in(stats);
        self.stats = Arc::clone(stats);
    }
}

impl types::Host for StoreState {}

impl log::Host for StoreState {
    fn log(&mut self, level: log::Level, mut message: String) {
        if !self.gate.pass() {
            self.stats.log_dropped_lines(1);
            return;
        }
        cut(&mut message, self.line_bytes);
        // An adapter cannot forge lines with line breaks.
        let message = message.replace(char::is_control, " ");
        let adapter = &*self.adapter;
        match level {
            log::Level::Debug => tracing::debug!(adapter, "{message}"),
            log::Level::Info => tracing::info!(adapter, "{message}"),
            log::Level::Warn => tracing::warn!(adapter, "{message}"),
        }
        self.stats.log_lines(1);
    }
}

/// Cuts a text to at most `most` bytes, between two characters.
pub(crate) fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
}

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
