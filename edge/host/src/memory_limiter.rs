//! Refuses growth of memories and tables beyond the limits.

use std::sync::Arc;

use thiserror::Error;
use wasmtime::ResourceLimiter;

use crate::limits::Limits;
use crate::stats::Stats;

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
