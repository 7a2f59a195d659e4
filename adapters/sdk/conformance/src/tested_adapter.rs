//! The component under test.

use std::sync::Arc;

use marketprism_adapter_host::{Adapter, Fault, Limits, Sandbox, Stats};

/// A compiled adapter with the limits that an edge runs it under.
pub(crate) struct TestedAdapter {
    pub(crate) adapter: Adapter,
    pub(crate) limits: Arc<Limits>,
    pub(crate) stats: Arc<Stats>,
}

impl TestedAdapter {
    pub(crate) fn new(adapter: Adapter, limits: Limits) -> Self {
        TestedAdapter { adapter, limits: Arc::new(limits), stats: Arc::new(Stats::default()) }
    }

    pub(crate) fn instance(&self) -> Result<Sandbox, Fault> {
        Sandbox::new(&self.adapter, &self.limits, &self.stats)
    }
}
