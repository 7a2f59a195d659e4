//! Keeps an adapter running over faults.
//! A batch that faults yields nothing, so its frames are repeated one by one on new instances: events of
//! good frames are neither lost nor doubled, and a fault that no frame caused (a stalled machine, full
//! memory) costs only the repeat. A frame that faults alone goes to quarantine. [`FaultPolicy`] bounds the
//! cost: after too many faults frames go to quarantine without a call for a while. Where the host denies an instance
//! its resources, frames wait, for a bounded time; nothing of it counts as a fault.

mod repeat;
mod successor;
mod trial;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::adapter::Adapter;
use crate::circuit_breaker::{CircuitBreaker, FaultPolicy, Health};
use crate::contract::{Feed, Instrument, Normalized, Plan, Request, TradeRange};
use crate::error::{CallError, Fault};
use crate::frames::{Frame, FrameBatch};
use crate::index::{FrameIndex, PlanSource, SourceIndex};
use crate::limits::Limits;
use crate::logging::LogRate;
use crate::quarantine::{Quarantine, QuarantinedFrame};
use crate::reference_answers::{AnswerTooLarge, ReferenceAnswers};
use crate::sandbox::Sandbox;
use crate::stats::{FaultCause, Stats};

pub use self::repeat::{FrameFault, NormalizedBatch};
use self::repeat::{Repeats, empty_result, single};
pub use self::successor::{Successor, SuccessorError, SuccessorSeed};
use self::trial::Trial;
pub use self::trial::{TrialMonitor, TrialReport};

/// Log lines about faults per second.
const LINES_PER_SECOND: u32 = 5;

/// Between two attempts while the host denies resources.
const HOST_PAUSE: Duration = Duration::from_millis(50);

/// Runs the adapter of one feed, and the changes of its version.
pub struct AdapterSupervisor {
    adapter: Adapter,
    seed: SuccessorSeed,
    stats: Arc<Stats>,
    sandbox: Option<Sandbox>,
    circuit: CircuitBreaker,
    quarantine: Option<Arc<Quarantine>>,
    lines: LogRate,
    host_wait: Duration,
    host_limit: Option<String>,
    trial: Option<Trial>,
    versions: u64,
}

impl AdapterSupervisor {
    /// Starts an instance, loads the feed and gets its plan.
    pub fn start(
        adapter: &Adapter,
        limits: &Limits,
        policy: FaultPolicy,
        feed: Feed,
        instruments: Vec<Instrument>,
        quarantine: Option<Arc<Quarantine>>,
    ) -> Result<Self, CallError> {
        let (limits, stats) = (Arc::new(limits.clone()), Arc::new(Stats::default()));
        let mut sandbox = Sandbox::new(adapter, &limits, &stats)?;
        sandbox.load(&feed, &instruments)?;
        let plan = sandbox.plan()?;
        let references = ReferenceAnswers::new(&plan, limits.reference_bytes);
        let budgets = plan.budgets.as_slice().into();
        Ok(AdapterSupervisor {
            adapter: adapter.clone(),
            seed: SuccessorSeed { limits, feed, instruments, plan, budgets, references },
            stats,
            sandbox: Some(sandbox),
            host_wait: policy.host_wait,
            host_limit: None,
            trial: None,
            versions: 0,
            circuit: CircuitBreaker::new(policy),
            quarantine,
            lines: LogRate::new(LINES_PER_SECOND),
        })
    }

    /// The compiled component.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Connections, polls and resyncs of the feed.
    pub fn plan(&self) -> &Plan {
        &self.seed.plan
    }

    /// Instruments, in the order of their index.
    pub fn instruments(&self) -> &[Instrument] {
        &self.seed.instruments
    }

    /// Counters, readable from any thread.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Consecutive faults of the adapter, and its back-off.
    pub fn health(&self) -> Health {
        self.circuit.health(Instant::now())
    }

    /// Resource that the host denies the adapter's instances now.
    pub fn host_limit(&self) -> Option<&str> {
        self.host_limit.as_deref()
    }

    /// A further page of a poll's answer will not come.
    pub fn page_failed(&mut self, source: SourceIndex) {
        self.seed.references.close(source);
    }

    /// The request for trades that were missed. A fault replaces the instance.
    ///
    /// # Errors
    /// The adapter refused or faulted, or there is no instance now.
    pub fn backfill(&mut self, trades: TradeRange) -> Result<Request, CallError> {
        if self.circuit.is_open(Instant::now()) {
            return Err(no_instance().into());
        }
        if self.sandbox.is_none() {
            self.sandbox = Some(self.restart()?);
        }
        let Some(sandbox) = &mut self.sandbox else { return Err(no_instance().into()) };
        let began = Instant::now();
        let asked = sandbox.backfill(trades);
        if let Err(CallError::Fault(fault)) = &asked {
            self.discard(fault);
            let now = Instant::now();
            if !fault.is_host_limit() && self.circuit.fault(now, now.saturating_duration_since(began)) {
                self.report_back_off(fault);
            }
        }
        asked
    }

    /// Turns frames into events; faults are handled and reported in the result.
    pub fn normalize(&mut self, batch: &FrameBatch) -> NormalizedBatch {
        if batch.is_empty() {
            return NormalizedBatch { normalized: empty_result(), faults: Vec::new() };
        }
        match self.trial.take() {
            Some(trial) => self.normalize_in_trial(trial, batch),
            None => self.normalize_active(batch),
        }
    }

    fn normalize_active(&mut self, batch: &FrameBatch) -> NormalizedBatch {
        if self.sandbox.is_some() && !self.circuit.is_open(Instant::now()) {
            match self.try_batch(batch) {
                Ok(normalized) => return self.good_batch(batch, normalized),
                Err(fault) => self.discard(&fault),
            }
        }
        self.one_by_one(batch)
    }

    fn good_batch(&mut self, batch: &FrameBatch, normalized: Normalized) -> NormalizedBatch {
        let stored = self.seed.references.record(batch, &normalized);
        self.report_stored(stored);
        self.circuit.good();
        NormalizedBatch { normalized, faults: Vec::new() }
    }

    /// Starts an instance first where there is none.
    fn start_or_try(&mut self, batch: &FrameBatch) -> Result<Normalized, Fault> {
        if self.sandbox.is_none() {
            self.sandbox = Some(self.restart()?);
        }
        self.try_batch(batch)
    }

    fn try_batch(&mut self, batch: &FrameBatch) -> Result<Normalized, Fault> {
        match &mut self.sandbox {
            Some(sandbox) => sandbox.normalize(batch),
            None => Err(no_instance()),
        }
    }

    fn one_by_one(&mut self, batch: &FrameBatch) -> NormalizedBatch {
        let mut repeats = Repeats::new(self.host_wait);
        for frame in FrameIndex::enumerate(batch.iter()) {
            self.repeat(&mut repeats, frame);
        }
        repeats.outcome
    }

    fn repeat(&mut self, repeats: &mut Repeats, (position, frame): (FrameIndex, Frame<'_>)) {
        let began = Instant::now();
        if self.circuit.is_open(began) {
            return repeats.outcome.faults.push(self.skip(position, frame));
        }
        let result = self.normalize_until(frame, repeats.patience);
        self.take_repeat(repeats, (position, frame), result, began.elapsed());
    }

    /// Takes the result of a frame's call into those of the batch. A frame without one is lost.
    fn take_repeat(
        &mut self,
        repeats: &mut Repeats,
        (position, frame): (FrameIndex, Frame<'_>),
        result: Result<Normalized, Fault>,
        took: Duration,
    ) {
        let allowed = self.seed.limits.result_bytes;
        let taken = result.and_then(|part| {
            self.record_reference(frame, &part);
            repeats.add(part, position, allowed)
        });
        match taken {
            Ok(()) => self.circuit.good(),
            Err(fault) if fault.is_host_limit() => repeats.outcome.faults.push(self.lose(position, frame)),
            Err(fault) => {
                self.discard(&fault);
                if self.circuit.fault(Instant::now(), took) {
                    self.report_back_off(&fault);
                }
                self.stats.frames_faulted(1);
                self.quarantine_frame(frame, &fault);
                let fault = FrameFault { frame: position, cause: fault.cause, skipped: false };
                repeats.outcome.faults.push(fault);
            }
        }
    }

    fn record_reference(&mut self, frame: Frame<'_>, part: &Normalized) {
        if self.seed.references.is_reference(frame.source) {
            let stored = single(frame).map(|batch| self.seed.references.record(&batch, part));
            self.report_stored(stored.unwrap_or(Ok(())));
        }
    }

    /// Repeats a frame until then while the host denies resources.
    fn normalize_until(&mut self, frame: Frame<'_>, patience: Instant) -> Result<Normalized, Fault> {
        let batch = single(frame)?;
        loop {
            match self.start_or_try(&batch) {
                Err(fault) if fault.is_host_limit() => {
                    self.discard(&fault);
                    if Instant::now() >= patience {
                        return Err(fault);
                    }
                    std::thread::sleep(HOST_PAUSE);
                }
                result => {
                    self.host_limit = None;
                    return result;
                }
            }
        }
    }

    /// A new instance with the reference answers. An answer that it faults on is dropped, so that the loop ends.
    fn restart(&mut self) -> Result<Sandbox, Fault> {
        loop {
            match self.seed.instance(&self.adapter, &self.stats) {
                Ok(sandbox) => {
                    self.stats.restarts(1);
                    return Ok(sandbox);
                }
                Err((Some(source), fault)) if !fault.is_host_limit() => {
                    self.seed.references.remove(source);
                    self.stats.references_dropped(1);
                    self.discard(&fault);
                }
                Err((_, fault)) => return Err(fault),
            }
        }
    }

    fn report_stored(&mut self, stored: Result<(), AnswerTooLarge>) {
        if stored.is_err() {
            self.stats.references_dropped(1);
            if self.lines.pass() {
                let (adapter, exchange) = (self.adapter.id(), &*self.seed.feed.exchange);
                let allowed = self.seed.limits.reference_bytes;
                tracing::error!(adapter, exchange, allowed, "reference answer too large to be stored");
            }
        }
    }

    fn discard(&mut self, fault: &Fault) {
        self.sandbox = None;
        self.stats.faulted(fault.cause);
        if fault.is_host_limit() {
            return self.report_host_limit(fault);
        }
        if self.lines.pass() {
            let (adapter, exchange, cause) =
                (self.adapter.id(), &*self.seed.feed.exchange, fault.cause.as_str());
            tracing::warn!(
                adapter,
                exchange,
                cause,
                detail = fault.detail,
                "adapter faulted, instance replaced"
            );
        }
    }

    fn report_host_limit(&mut self, fault: &Fault) {
        if self.host_limit.replace(fault.detail.clone()).is_none() && self.lines.pass() {
            let (adapter, exchange) = (self.adapter.id(), &*self.seed.feed.exchange);
            tracing::error!(adapter, exchange, limit = fault.detail, "no adapter instance: frames wait");
        }
    }

    /// The host denied resources for too long.
    fn lose(&mut self, position: FrameIndex, frame: Frame<'_>) -> FrameFault {
        self.stats.frames_denied(1);
        if self.seed.references.is_reference(frame.source) {
            let stored = self.seed.references.store(frame, false);
            self.report_stored(stored);
        }
        if self.lines.pass() {
            let (adapter, exchange) = (self.adapter.id(), &*self.seed.feed.exchange);
            tracing::error!(adapter, exchange, wait = ?self.host_wait, "frame lost to a limit of this host");
        }
        FrameFault { frame: position, cause: FaultCause::HostLimit, skipped: true }
    }

    fn report_back_off(&self, fault: &Fault) {
        let (adapter, exchange, cause) = (self.adapter.id(), &*self.seed.feed.exchange, fault.cause.as_str());
        tracing::error!(
            adapter,
            exchange,
            cause,
            "adapter faults too often: frames go to quarantine without a call during the back-off"
        );
    }

    fn skip(&mut self, position: FrameIndex, frame: Frame<'_>) -> FrameFault {
        let cause = FaultCause::Reload;
        self.stats.frames_unseen(1);
        // The next instance may read it; if it faults, the answer is dropped.
        if self.seed.references.is_reference(frame.source) {
            let stored = self.seed.references.store(frame, false);
            self.report_stored(stored);
        }
        self.quarantine_frame(
            frame,
            &Fault { cause, detail: "skipped: the adapter faulted too often before".into() },
        );
        FrameFault { frame: position, cause, skipped: true }
    }

    fn quarantine_frame(&mut self, frame: Frame<'_>, fault: &Fault) {
        let (adapter, exchange) = (self.adapter.id(), &*self.seed.feed.exchange);
        let (connection, url) = origin(&self.seed.plan, frame.source);
        let suspect = QuarantinedFrame { frame, connection, url, fault, adapter, exchange };
        let stored = self.quarantine.as_ref().map(|quarantine| quarantine.store(&suspect));
        if !self.lines.pass() {
            return;
        }
        let cause = fault.cause.as_str();
        match stored {
            Some(Ok(file)) => {
                let file = file.display().to_string();
                tracing::error!(adapter, exchange, cause, file, "frame lost, stored in quarantine");
            }
            Some(Err(error)) => {
                tracing::error!(adapter, exchange, cause, %error, "frame lost, quarantine failed")
            }
            None => tracing::error!(adapter, exchange, cause, "frame lost, no quarantine configured"),
        }
    }
}

fn no_instance() -> Fault {
    Fault { cause: FaultCause::Reload, detail: "there is no instance".into() }
}

/// The connection and the URL of a frame's source, in the terms of a recording.
fn origin(plan: &Plan, source: SourceIndex) -> (Option<SourceIndex>, &str) {
    match source.entry(plan) {
        Some(PlanSource::Connection(connection)) => (Some(source), &connection.url),
        other => (None, other.and_then(PlanSource::request).map_or("", |request| &request.url)),
    }
}
