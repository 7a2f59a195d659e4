//! A change of the adapter's version between two batches. The new version first gets the live frames beside the running one, which alone is
//! published (shadow). After the switch it is the other way round (probation): what the old version would have published better is published from
//! it, and it runs again. Both versions see the same frames, so a change loses and doubles nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::swap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marketprism_schema::DataType;
use thiserror::Error;

use super::{AdapterSupervisor, NormalizedBatch};
use crate::adapter::Adapter;
use crate::comparison::{DifferenceKind, Differences, add_differences};
use crate::contract::{Feed, Instrument, Normalized, Plan};
use crate::error::{CallError, Fault};
use crate::frames::FrameBatch;
use crate::index::{FrameIndex, SourceIndex};
use crate::limits::Limits;
use crate::reference_answers::ReferenceAnswers;
use crate::sandbox::Sandbox;
use crate::stats::Stats;

/// Events of an accepted kind that the running version gave; a new version that gave none is silent.
const SILENT_EVENTS: u64 = 20;

/// A new version that takes this many times the running one's time, and [`SLOW_TIME`] more, is slow. Frames wait meanwhile, none is lost.
const SLOW_FACTOR: u32 = 10;
const SLOW_TIME: Duration = Duration::from_secs(1);

/// Everything that an instance of another version of the feed's adapter begins with.
pub struct SuccessorSeed {
    limits: Arc<Limits>,
    feed: Feed,
    instruments: Vec<Instrument>,
    plan: Plan,
    references: ReferenceAnswers,
}

/// An instance of another version that is ready for frames.
pub struct Successor {
    version: AdapterVersion,
    references: u64,
}

struct AdapterVersion {
    adapter: Adapter,
    sandbox: Option<Sandbox>,
    stats: Arc<Stats>,
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
        let version = AdapterVersion { adapter: adapter.clone(), sandbox: Some(sandbox), stats };
        Ok(Successor { version, references: self.references.changes() })
    }
}

/// The first difference, in the words of the contract.
fn plan_difference(running: &Plan, new: &Plan) -> Option<String> {
    fn of_list<T: PartialEq + std::fmt::Debug>(name: &str, running: &[T], new: &[T]) -> Option<String> {
        if running.len() != new.len() {
            return Some(format!("{} {name}, running are {}", new.len(), running.len()));
        }
        let (index, (running, new)) =
            running.iter().zip(new).enumerate().find(|(_, (running, new))| running != new)?;
        let (mut seen, mut allowed) = (format!("{new:?}"), format!("{running:?}"));
        crate::logging::cut(&mut seen, 400);
        crate::logging::cut(&mut allowed, 400);
        Some(format!("{name}[{index}] is {seen}, running is {allowed}"))
    }
    of_list("connections", &running.connections, &new.connections)
        .or_else(|| of_list("polls", &running.polls, &new.polls))
        .or_else(|| of_list("resyncs", &running.resyncs, &new.resyncs))
        .or_else(|| of_list("budgets", &running.budgets, &new.budgets))
}

/// Comparison of two versions since the shadow began, or since the switch.
#[derive(Clone, Debug, Default)]
pub struct TrialReport {
    /// Frames that both versions got.
    pub frames: u64,
    /// Differences of all kinds, accepted ones too.
    pub differences: Differences,
    /// Events of the version from before the switch, and of the new one.
    pub events: BTreeMap<DataType, [u64; 2]>,
    /// Time in the calls of both.
    pub call_time: [Duration; 2],
    /// The new version was dropped or rolled back for this reason.
    pub failure: Option<String>,
}

/// Report of a trial, readable from any thread.
#[derive(Debug, Default)]
pub struct TrialMonitor(Mutex<TrialReport>);

impl TrialMonitor {
    fn lock(&self) -> MutexGuard<'_, TrialReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report so far.
    pub fn report(&self) -> TrialReport {
        self.lock().clone()
    }
}

pub(super) struct Trial {
    other: AdapterVersion,
    is_switched: bool,
    accepted: BTreeSet<DifferenceKind>,
    monitor: Arc<TrialMonitor>,
}

impl Trial {
    /// Takes a batch into the report. Returns what ends the trial at once.
    fn compare(
        &self,
        batch: &FrameBatch,
        outputs: [&Normalized; 2],
        times: [Duration; 2],
        is_lost: impl Fn(FrameIndex) -> bool,
    ) -> Option<String> {
        let mut report = self.monitor.lock();
        report.frames += u64::try_from(batch.len()).unwrap_or_default();
        for (version, (normalized, time)) in outputs.iter().zip(times).enumerate() {
            if let Some(total) = report.call_time.get_mut(version) {
                *total += time;
            }
            for event in &normalized.events {
                let counts = report.events.entry(event.payload.data_type()).or_default();
                counts.iter_mut().skip(version).take(1).for_each(|count| *count += 1);
            }
        }
        add_differences(&mut report.differences, batch, outputs.into(), is_lost);
        let [running, new] = report.call_time;
        if new > running * SLOW_FACTOR + SLOW_TIME {
            return Some(format!(
                "slow: {new:?} for {} frames, the earlier version took {running:?}",
                report.frames
            ));
        }
        let silent = |(kind, [running, new]): (&DataType, &[u64; 2])| {
            (*new == 0 && *running >= SILENT_EVENTS && self.accepted.contains(&DifferenceKind::Events(*kind)))
                .then(|| format!("silent: no {kind} event, the earlier version gave {running}"))
        };
        report.events.iter().find_map(silent)
    }

    /// A difference that is not accepted.
    fn unaccepted(&self) -> Option<String> {
        let report = self.monitor.lock();
        let (kind, found) = report.differences.iter().find(|(kind, _)| !self.accepted.contains(kind))?;
        let example = found.examples.first()?;
        Some(format!(
            "{kind} differ on frame `{}`: {}, the earlier version gave {}",
            example.frame, example.new, example.running
        ))
    }

    fn fail(&self, failure: String) {
        self.monitor.lock().failure = Some(failure);
    }
}

impl AdapterVersion {
    fn normalize(&mut self, batch: &FrameBatch) -> Result<Normalized, Fault> {
        let result = match &mut self.sandbox {
            Some(sandbox) => sandbox.normalize(batch),
            None => Err(Fault::invalid("there is no instance")),
        };
        if result.is_err() {
            self.sandbox = None;
        }
        result
    }
}

/// The result of a call with its time.
fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (call(), began.elapsed())
}

impl AdapterSupervisor {
    /// Everything that another version begins with now.
    pub fn seed(&self) -> SuccessorSeed {
        SuccessorSeed {
            limits: Arc::clone(&self.limits),
            feed: self.feed.clone(),
            instruments: self.instruments.clone(),
            plan: self.plan.clone(),
            references: self.references.clone(),
        }
    }

    /// Number of changes of the version that events come from.
    pub fn versions(&self) -> u64 {
        self.versions
    }

    /// Gives the frames from now on to a new version too. `None`: there are newer reference answers than it has got, or another trial runs.
    pub fn begin_shadow(
        &mut self,
        successor: Successor,
        accepted: BTreeSet<DifferenceKind>,
    ) -> Option<Arc<TrialMonitor>> {
        if self.trial.is_some() || successor.references != self.references.changes() {
            return None;
        }
        let monitor = Arc::new(TrialMonitor::default());
        let other = successor.version;
        self.trial = Some(Trial { other, is_switched: false, accepted, monitor: Arc::clone(&monitor) });
        Some(monitor)
    }

    /// Events come from the new version from now on; the old one gets the frames too. `None`: no new version is in the shadow any more.
    pub fn switch(&mut self) -> Option<Arc<TrialMonitor>> {
        let mut trial = self.trial.take()?;
        if !trial.is_switched {
            self.exchange(&mut trial.other);
            trial.is_switched = true;
            trial.monitor = Arc::default();
        }
        let monitor = Arc::clone(&trial.monitor);
        self.trial = Some(trial);
        Some(monitor)
    }

    /// Ends a trial with the version from before it.
    pub fn roll_back(&mut self) {
        if let Some(mut trial) = self.trial.take()
            && trial.is_switched
        {
            self.exchange(&mut trial.other);
        }
    }

    /// Ends a trial with the version that events come from.
    pub fn end_trial(&mut self) {
        self.trial = None;
    }

    /// Changes the version without a trial. False: there are newer reference answers than it has got.
    pub fn replace(&mut self, successor: Successor) -> bool {
        if successor.references != self.references.changes() {
            return false;
        }
        self.trial = None;
        let mut version = successor.version;
        self.exchange(&mut version);
        true
    }

    fn exchange(&mut self, other: &mut AdapterVersion) {
        swap(&mut self.adapter, &mut other.adapter);
        swap(&mut self.sandbox, &mut other.sandbox);
        for (sandbox, stats) in [(&mut self.sandbox, &self.stats), (&mut other.sandbox, &other.stats)] {
            if let Some(sandbox) = sandbox {
                sandbox.count_in(stats);
            }
        }
        self.circuit.good();
        self.versions += 1;
    }

    pub(super) fn normalize_in_trial(&mut self, trial: Trial, batch: &FrameBatch) -> NormalizedBatch {
        if trial.is_switched {
            self.normalize_on_probation(trial, batch)
        } else {
            self.normalize_in_shadow(trial, batch)
        }
    }

    fn normalize_in_shadow(&mut self, mut trial: Trial, batch: &FrameBatch) -> NormalizedBatch {
        let (result, time) = timed(|| self.normalize_active(batch));
        let (new, new_time) = timed(|| trial.other.normalize(batch));
        let failure = match new {
            Ok(new) => {
                let is_lost = |frame| result.faults.iter().any(|fault| fault.frame == frame);
                trial.compare(batch, [&result.normalized, &new], [time, new_time], is_lost)
            }
            Err(fault) => Some(fault.to_string()),
        };
        match failure {
            Some(failure) => trial.fail(failure),
            None => self.trial = Some(trial),
        }
        result
    }

    fn normalize_on_probation(&mut self, mut trial: Trial, batch: &FrameBatch) -> NormalizedBatch {
        let had_other = trial.other.sandbox.is_some();
        let (new, new_time) = timed(|| self.try_batch(batch));
        let (running, time) = timed(|| trial.other.normalize(batch));
        match (new, running) {
            (Ok(new), Ok(running)) => {
                let ended = trial.compare(batch, [&running, &new], [time, new_time], |_| false);
                if let Some(failure) = trial.unaccepted().or(ended) {
                    self.fall_back(trial, failure);
                    return self.good_batch(batch, running);
                }
                self.trial = Some(trial);
                self.good_batch(batch, new)
            }
            (Err(fault), Ok(running)) => {
                self.stats.faulted(fault.cause);
                self.fall_back(trial, fault.to_string());
                self.good_batch(batch, running)
            }
            // The old version, without an instance since an earlier fault, begins with a new one.
            (Err(fault), Err(_)) if !fault.is_host_limit() && !had_other => {
                self.stats.faulted(fault.cause);
                self.fall_back(trial, fault.to_string());
                self.normalize_active(batch)
            }
            (Ok(new), Err(_)) => {
                self.trial = Some(trial);
                self.good_batch(batch, new)
            }
            (Err(fault), _) => {
                self.discard(&fault);
                self.trial = Some(trial);
                self.one_by_one(batch)
            }
        }
    }

    fn fall_back(&mut self, mut trial: Trial, failure: String) {
        self.exchange(&mut trial.other);
        trial.fail(failure);
    }
}
