//! The one thing that an adapter may call: the log.

use std::sync::Arc;

use crate::limiter::Limiter;
use crate::limits::Limits;
use crate::rate::RateGate;
use crate::stats::Stats;
use crate::v1::marketprism::adapter::{log, types};

/// What belongs to one instance on the host's side.
#[derive(Debug)]
pub(crate) struct StoreState {
    pub(crate) limiter: Limiter,
    adapter: Arc<str>,
    gate: RateGate,
    line_bytes: usize,
    stats: Arc<Stats>,
}

impl StoreState {
    pub(crate) fn new(adapter: Arc<str>, limits: &Arc<Limits>, stats: &Arc<Stats>) -> Self {
        StoreState {
            limiter: Limiter::new(Arc::clone(limits), Arc::clone(stats)),
            adapter,
            gate: RateGate::new(limits.log_lines_per_second),
            line_bytes: limits.log_line_bytes,
            stats: Arc::clone(stats),
        }
    }
}

impl types::Host for StoreState {}

impl log::Host for StoreState {
    fn log(&mut self, level: log::Level, mut message: String) {
        if !self.gate.pass() {
            self.stats.log_dropped();
            return;
        }
        cut(&mut message, self.line_bytes);
        // A line stays one line, whatever an adapter writes into it.
        let message = message.replace(char::is_control, " ");
        let adapter = &*self.adapter;
        match level {
            log::Level::Debug => tracing::debug!(adapter, "{message}"),
            log::Level::Info => tracing::info!(adapter, "{message}"),
            log::Level::Warn => tracing::warn!(adapter, "{message}"),
        }
        self.stats.log_written();
    }
}

/// Cuts a text to at most `most` bytes, between two characters.
pub(crate) fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
}
