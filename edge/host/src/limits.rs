//! Resource limits of an adapter instance, every bound with its reason and default, and the limiter of
//! memories and tables.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use wasmtime::ResourceLimiter;

use crate::host_limit::HostLimit;
use crate::stats::Stats;

/// Bounds of one adapter instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest `normalize` call: catches endless loops. A batch takes well under a millisecond.
    pub call_deadline: Duration,
    /// Longest other call: reading a venue's instrument list of 20 MB takes a second.
    pub control_deadline: Duration,
    /// All linear memory of an instance, in bytes.
    pub memory_bytes: usize,
    /// Elements of one table.
    pub table_elements: usize,
    /// Core instances, and tables, in a component. Built adapters have three.
    pub core_instances: usize,
    /// Linear memories in a component.
    pub memories: usize,
    /// Result bytes of one `normalize` call. Bounds the host's memory even if a small list refers to one large
    /// text many times.
    pub result_bytes: usize,
    /// Result bytes of any other call.
    pub control_result_bytes: usize,
    /// Events of one batch. A polled answer may list every instrument of a venue.
    pub events_per_batch: usize,
    /// Notes of one frame.
    pub notes_per_frame: usize,
    /// Bytes of a text in an event: ids, periods.
    pub id_bytes: usize,
    /// Bytes of a text in a note: replies, error texts.
    pub text_bytes: usize,
    /// Instruments of a feed.
    pub instruments: usize,
    /// Connections, and streams of one connection, polls, resyncs and requests in a plan.
    pub plan_entries: usize,
    /// Rounds of instrument requests (pages of a venue's lists). Stops an adapter that never finishes.
    pub instrument_rounds: usize,
    /// Bytes of all answers to instrument requests together.
    pub instrument_answer_bytes: usize,
    /// Further pages requested by one frame. An answer names the next page; more would multiply.
    pub follow_ups_per_frame: usize,
    /// Bytes of all reference answers stored for new instances. One that does not fit is dropped and counted.
    pub reference_bytes: usize,
    /// Log lines a second; more are dropped and counted.
    pub log_lines_per_second: u32,
    /// Bytes of a log line; longer ones are cut.
    pub log_line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            call_deadline: Duration::from_millis(100),
            control_deadline: Duration::from_secs(5),
            memory_bytes: 64 << 20,
            table_elements: 100_000,
            core_instances: 8,
            memories: 2,
            result_bytes: 16 << 20,
            control_result_bytes: 64 << 20,
            events_per_batch: 65_536,
            notes_per_frame: 64,
            id_bytes: 128,
            text_bytes: 4_096,
            instruments: 100_000,
            plan_entries: 100_000,
            instrument_rounds: 100,
            instrument_answer_bytes: 256 << 20,
            follow_ups_per_frame: 4,
            reference_bytes: 32 << 20,
            log_lines_per_second: 20,
            log_line_bytes: 1_024,
        }
    }
}

/// Refused growth ends the call with a fault.
#[derive(Debug, Error)]
#[error("{what} would grow to {wanted}, allowed is {allowed}")]
pub(crate) struct RefusedGrowth {
    what: &'static str,
    wanted: usize,
    allowed: usize,
}

#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    limits: Arc<Limits>,
    stats: Arc<Stats>,
    memory_bytes: usize,
}

impl MemoryLimiter {
    pub(crate) fn new(limits: Arc<Limits>, stats: Arc<Stats>) -> Self {
        MemoryLimiter { limits, stats, memory_bytes: 0 }
    }

    pub(crate) fn count_in(&mut self, stats: &Arc<Stats>) {
        stats.memory_grew(self.memory_bytes);
        self.stats = Arc::clone(stats);
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let allowed = self.limits.memory_bytes;
        if wanted > allowed {
            return Err(RefusedGrowth { what: "memory", wanted, allowed }.into());
        }
        self.memory_bytes = wanted;
        self.stats.memory_grew(wanted);
        Ok(true)
    }

    /// Growth that the host denies ends the call: the adapter would take it for its own limit and trap.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if HostLimit::of(&error).is_some() { Err(error) } else { Ok(()) }
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = self.limits.table_elements;
        if desired > allowed {
            return Err(RefusedGrowth { what: "table", wanted: desired, allowed }.into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.limits.core_instances
    }

    fn tables(&self) -> usize {
        self.limits.core_instances
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_capped_over_all_memories() {
        let limits = Arc::new(Limits { memory_bytes: 100, table_elements: 10, ..Limits::default() });
        let stats = Arc::new(Stats::default());
        let mut limiter = MemoryLimiter::new(limits, Arc::clone(&stats));
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        let error = limiter.memory_growing(0, 41, None).unwrap_err();
        assert_eq!(error.to_string(), "memory would grow to 101, allowed is 100");
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(limiter.memory_growing(60, 61, None).is_err());
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert!(limiter.table_growing(0, 11, None).is_err());
        assert_eq!(stats.snapshot().memory_high_water_bytes, 100);
    }
}
