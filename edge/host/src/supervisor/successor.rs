//! Configuration with which instances of a feed's adapter start, and instances of another version that start in parallel with the pipeline.

use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use crate::adapter::Adapter;
use crate::circuit_breaker::{CircuitBreaker, FaultPolicy};
use crate::comparison::plan_difference;
use crate::contract::{Budget, Feed, Instrument, Normalized, Plan};
use crate::error::{CallError, Fault};
use crate::frames::FrameBatch;
use crate::index::SourceIndex;
use crate::limits::Limits;
use crate::reference_answers::ReferenceAnswers;
use crate::sandbox::Sandbox;
use crate::stats::{FaultCause, Stats};

/// Everything that an instance of a version of the feed's adapter begins with.
#[derive(Clone)]
pub struct SuccessorSeed {
    pub(super) limits: Arc<Limits>,
    pub(super) feed: Feed,
    pub(super) instruments: Vec<Instrument>,
    pub(super) plan: Plan,
    pub(super) budgets: Arc<[Budget]>,
    pub(super) references: ReferenceAnswers,
}

/// An instance of another version that is ready for frames.
pub struct Successor {
    pub(super) version: AdapterVersion,
    pub(super) references: u64,
}

/// A version that gets the frames in parallel with the published one.
pub(super) struct AdapterVersion {
    pub(super) adapter: Adapter,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) stats: Arc<Stats>,
    circuit: CircuitBreaker,
}

/// Rejection of a new version by a feed.
#[derive(Debug, Error)]
pub enum SuccessorError {
    /// It does not take the feed or its instruments.
    #[error("{0}")]
    Call(#[from] CallError),
    /// Other connections, polls, resyncs or budgets than those of the running feed.
    #[error("plan differs from that of the running feed: {0}")]
    Plan(String),
    /// It faults on an answer that the running version has read.
    #[error("reference answer of source {0}: {1}")]
    Reference(SourceIndex, Fault),
}

impl SuccessorSeed {
    /// Instruments of the running feed.
    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// Starts an instance; for a thread that may block.
    pub fn prepare(&self, adapter: &Adapter) -> Result<Successor, SuccessorError> {
        let stats = Arc::new(Stats::default());
        let start = || -> Result<Sandbox, CallError> {
            let mut sandbox = Sandbox::new(adapter, &self.limits, &stats)?;
            sandbox.load(&self.feed, &self.instruments)?;
            Ok(sandbox)
        };
        let mut sandbox = start()?;
        let plan = sandbox.plan()?;
        if let Some(difference) = plan_difference(&self.plan, &plan) {
            return Err(SuccessorError::Plan(difference));
        }
        let replayed = self.references.replay_into(&mut sandbox);
        replayed.map_err(|(source, fault)| SuccessorError::Reference(source, fault))?;
        let circuit = CircuitBreaker::new(FaultPolicy::default());
        let version = AdapterVersion { adapter: adapter.clone(), sandbox: Some(sandbox), stats, circuit };
        Ok(Successor { version, references: self.references.changes() })
    }

    /// A loaded instance with the reference answers. The error names the answer on which it faulted.
    pub(super) fn instance(
        &self,
        adapter: &Adapter,
        stats: &Arc<Stats>,
    ) -> Result<Sandbox, (Option<SourceIndex>, Fault)> {
        let reload = |error: CallError| match error {
            CallError::Fault(fault) if fault.is_host_limit() => (None, fault),
            error => (None, Fault { cause: FaultCause::Reload, detail: error.to_string() }),
        };
        let mut sandbox = Sandbox::new(adapter, &self.limits, stats).map_err(|fault| reload(fault.into()))?;
        sandbox.load(&self.feed, &self.instruments).map_err(reload)?;
        sandbox.set_budgets(Arc::clone(&self.budgets));
        match self.references.replay_into(&mut sandbox) {
            Ok(()) => Ok(sandbox),
            Err((source, fault)) => Err((Some(source), fault)),
        }
    }
}

impl AdapterVersion {
    /// `None`: it faults on everything, and gets no frames for a while.
    pub(super) fn normalize(
        &mut self,
        seed: &SuccessorSeed,
        batch: &FrameBatch,
    ) -> Option<Result<Normalized, Fault>> {
        let began = Instant::now();
        if self.circuit.is_open(began) {
            return None;
        }
        let result = self.call(seed, batch);
        match &result {
            Ok(_) => self.circuit.good(),
            Err(fault) => {
                self.sandbox = None;
                self.stats.faulted(fault.cause);
                if !fault.is_host_limit() {
                    let now = Instant::now();
                    self.circuit.fault(now, now.saturating_duration_since(began));
                }
            }
        }
        Some(result)
    }

    fn call(&mut self, seed: &SuccessorSeed, batch: &FrameBatch) -> Result<Normalized, Fault> {
        let sandbox = match &mut self.sandbox {
            Some(sandbox) => sandbox,
            empty => {
                let started = seed.instance(&self.adapter, &self.stats);
                empty.insert(started.map_err(|(_, fault)| fault)?)
            }
        };
        sandbox.normalize(batch)
    }

    /// It is the one that is published from now on, or was until now.
    pub(super) fn forget_faults(&mut self) {
        self.circuit.good();
    }
}
