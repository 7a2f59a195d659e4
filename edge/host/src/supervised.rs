//! An adapter that is kept running.
//!
//! A batch that faults gave nothing, so its frames are given one by one to new instances: events of the good
//! ones are neither lost nor doubled, and a fault that was not the frames' (a stalled machine, memory that
//! earlier frames had filled) costs only the repeat. A frame that faults alone goes to quarantine. What that
//! may cost is bounded by [`FaultPolicy`]: when too many frames fault, the following ones go to quarantine
//! unseen for a while, and the feed is not healthy.

use std::sync::Arc;
use std::time::Instant;

use crate::adapter::Adapter;
use crate::circuit::{Circuit, FaultPolicy, Health};
use crate::contract::{Budget, Feed, Instrument, Normalized, Plan, ResyncAction};
use crate::error::{CallError, Fault, FaultCause};
use crate::frames::{Frame, FrameBatch};
use crate::limits::Limits;
use crate::merge;
use crate::quarantine::{Origin, Quarantine, Suspect};
use crate::rate::RateGate;
use crate::references::{Kept, References};
use crate::sandbox::Sandbox;
use crate::stats::Stats;

/// Error lines a second about faults; all are counted.
const LINES_PER_SECOND: u32 = 5;

/// A feed's adapter under supervision.
pub struct Supervised {
    adapter: Adapter,
    limits: Arc<Limits>,
    stats: Arc<Stats>,
    feed: Feed,
    instruments: Vec<Instrument>,
    plan: Plan,
    budgets: Arc<[Budget]>,
    references: References,
    sandbox: Option<Sandbox>,
    circuit: Circuit,
    quarantine: Option<Arc<Quarantine>>,
    single: FrameBatch,
    lines: RateGate,
}

/// What a batch meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Events and notes of all frames but the faulted ones.
    pub normalized: Normalized,
    /// Frames that gave nothing, in order. Their data is lost to the stream, and kept in quarantine.
    pub faults: Vec<FrameFault>,
}

/// A frame that gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFault {
    /// Its position in the batch.
    pub frame: u32,
    /// Why.
    pub cause: FaultCause,
    /// No instance saw it: the adapter had faulted too often before.
    pub unseen: bool,
}

impl Supervised {
    /// Makes an instance, loads the feed and asks for its plan.
    ///
    /// # Errors
    /// When the adapter refuses the feed, or faults.
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
        let references = References::new(&plan, limits.reference_bytes);
        Ok(Supervised {
            adapter: adapter.clone(),
            limits,
            stats,
            feed,
            instruments,
            references,
            budgets: plan.budgets.as_slice().into(),
            plan,
            sandbox: Some(sandbox),
            circuit: Circuit::new(policy),
            quarantine,
            single: FrameBatch::new(),
            lines: RateGate::new(LINES_PER_SECOND),
        })
    }

    /// The adapter.
    #[must_use]
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The input and output that the feed needs.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The instruments, in the order in which events name them.
    #[must_use]
    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// Counters, to be read from any thread.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// How the adapter does.
    #[must_use]
    pub fn health(&self) -> Health {
        self.circuit.health(Instant::now())
    }

    /// A further page of a poll's answer will not come.
    pub fn page_failed(&mut self, source: u32) {
        self.references.close(source);
    }

    /// Turns frames into events, whatever the adapter does with them.
    pub fn normalize(&mut self, batch: &FrameBatch) -> Outcome {
        if batch.is_empty() {
            return Outcome { normalized: merge::empty(), faults: Vec::new() };
        }
        if self.sandbox.is_some() && !self.circuit.is_open(Instant::now()) {
            match self.try_batch(batch) {
                Ok(normalized) => {
                    let kept = self.references.learn(batch, &normalized);
                    self.note_kept(kept);
                    self.circuit.good();
                    return Outcome { normalized, faults: Vec::new() };
                }
                Err(fault) => self.discard(&fault),
            }
        }
        self.one_by_one(batch)
    }

    fn try_batch(&mut self, batch: &FrameBatch) -> Result<Normalized, Fault> {
        match &mut self.sandbox {
            Some(sandbox) => sandbox.normalize(batch),
            None => Err(Fault { cause: FaultCause::Reload, detail: "there is no instance".into() }),
        }
    }

    fn one_by_one(&mut self, batch: &FrameBatch) -> Outcome {
        let mut outcome = Outcome { normalized: merge::empty(), faults: Vec::new() };
        for (position, frame) in (0_u32..).zip(batch.iter()) {
            if self.circuit.is_open(Instant::now()) {
                outcome.faults.push(self.unseen(position, frame));
                continue;
            }
            let began = Instant::now();
            let result = self.one(frame).and_then(|part| {
                merge::add(&mut outcome.normalized, part, position)
                    .ok_or_else(|| Fault::invalid("the batch has too many levels"))
            });
            match result {
                Ok(()) => self.circuit.good(),
                Err(fault) => {
                    self.discard(&fault);
                    let now = Instant::now();
                    if self.circuit.fault(now, now.saturating_duration_since(began)) {
                        self.report_back_off(&fault);
                    }
                    self.stats.frame_faulted();
                    self.keep(frame, &fault);
                    outcome.faults.push(FrameFault { frame: position, cause: fault.cause, unseen: false });
                }
            }
        }
        outcome
    }

    /// Gives one frame to the instance, or to a new one.
    fn one(&mut self, frame: Frame<'_>) -> Result<Normalized, Fault> {
        if self.sandbox.is_none() {
            self.sandbox = Some(self.restart()?);
        }
        let mut single = std::mem::take(&mut self.single);
        single.clear();
        let result = match single.push(frame.bytes, frame.source, frame.received_at_ns) {
            Ok(()) => self.try_batch(&single),
            Err(error) => Err(Fault::invalid(error.to_string())),
        };
        if let Ok(normalized) = &result {
            let kept = self.references.learn(&single, normalized);
            self.note_kept(kept);
        }
        self.single = single;
        result
    }

    /// A new instance that knows what the one before had learned. An answer that it faults on is forgotten, so that this ends.
    fn restart(&mut self) -> Result<Sandbox, Fault> {
        let reload = |detail: String| Fault { cause: FaultCause::Reload, detail };
        loop {
            let mut sandbox = Sandbox::new(&self.adapter, &self.limits, &self.stats)
                .map_err(|fault| reload(fault.to_string()))?;
            sandbox.load(&self.feed, &self.instruments).map_err(|error| reload(error.to_string()))?;
            sandbox.set_budgets(Arc::clone(&self.budgets));
            match self.references.teach(&mut sandbox) {
                Ok(()) => {
                    self.stats.restarted();
                    return Ok(sandbox);
                }
                Err((source, fault)) => {
                    self.references.forget(source);
                    self.stats.reference_dropped();
                    self.discard(&fault);
                }
            }
        }
    }

    fn note_kept(&mut self, kept: Kept) {
        if kept == Kept::TooLarge {
            self.stats.reference_dropped();
            if self.lines.pass() {
                let (adapter, exchange) = (self.adapter.id(), &*self.feed.exchange);
                let allowed = self.limits.reference_bytes;
                tracing::error!(adapter, exchange, allowed, "a reference answer is too large to be kept");
            }
        }
    }

    fn discard(&mut self, fault: &Fault) {
        self.sandbox = None;
        self.stats.faulted(fault.cause);
        if self.lines.pass() {
            let (adapter, exchange, cause) = (self.adapter.id(), &*self.feed.exchange, fault.cause.as_str());
            tracing::warn!(
                adapter,
                exchange,
                cause,
                detail = fault.detail,
                "adapter faulted, instance replaced"
            );
        }
    }

    fn report_back_off(&self, fault: &Fault) {
        let (adapter, exchange, cause) = (self.adapter.id(), &*self.feed.exchange, fault.cause.as_str());
        tracing::error!(
            adapter,
            exchange,
            cause,
            "adapter faults too often, frames go to quarantine unseen for a while"
        );
    }

    fn unseen(&mut self, position: u32, frame: Frame<'_>) -> FrameFault {
        let cause = FaultCause::Reload;
        self.stats.frame_unseen();
        // The next instance may read it; one that faults on it forgets it.
        if self.references.is_reference(frame.source) {
            let kept = self.references.keep(frame, false);
            self.note_kept(kept);
        }
        self.keep(frame, &Fault { cause, detail: "unseen: the adapter had faulted too often before".into() });
        FrameFault { frame: position, cause, unseen: true }
    }

    fn keep(&mut self, frame: Frame<'_>, fault: &Fault) {
        let origin = self.origin(frame.source);
        let (adapter, exchange) = (self.adapter.id(), &*self.feed.exchange);
        let suspect = Suspect { frame, origin: &origin, fault, adapter, exchange };
        let kept = self.quarantine.as_ref().map(|quarantine| quarantine.keep(&suspect));
        if !self.lines.pass() {
            return;
        }
        let cause = fault.cause.as_str();
        match kept {
            Some(Ok(file)) => {
                let file = file.display().to_string();
                tracing::error!(adapter, exchange, cause, file, "frame lost, kept in quarantine");
            }
            Some(Err(error)) => tracing::error!(adapter, exchange, cause, %error, "frame lost, not kept"),
            None => tracing::error!(adapter, exchange, cause, "frame lost, there is no quarantine"),
        }
    }

    /// Sources count connections first, then polls, then resyncs.
    fn origin(&self, source: u32) -> Origin {
        let position = source as usize;
        if let Some(connection) = self.plan.connections.get(position) {
            return Origin::Socket { connection: source, url: connection.url.clone() };
        }
        let position = position.saturating_sub(self.plan.connections.len());
        if let Some(poll) = self.plan.polls.get(position) {
            return Origin::Rest { url: poll.request.url.clone() };
        }
        let position = position.saturating_sub(self.plan.polls.len());
        let url = match self.plan.resyncs.get(position).map(|resync| &resync.action) {
            Some(ResyncAction::Request(request)) => request.url.clone(),
            _ => String::new(),
        };
        Origin::Rest { url }
    }
}
