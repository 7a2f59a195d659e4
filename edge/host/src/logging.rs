//! The `log` import, the only function of the host that an adapter may call.

use std::sync::Arc;

use crate::limits::Limits;
use crate::log_rate::LogRate;
use crate::memory_limiter::MemoryLimiter;
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
