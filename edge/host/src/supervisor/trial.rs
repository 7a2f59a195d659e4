//! A change of the adapter's version between two batches. The new version first gets the live frames in parallel with the running one, which alone is
//! published (shadow). After the switch it is the other way round (probation): what the old version would have published better is published from
//! it, and it runs again. Both versions see the same frames, so a change loses and doubles nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem::swap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marketprism_schema::DataType;

use super::repeat::{FrameResults, Repeats, single};
use super::successor::{AdapterVersion, Successor, SuccessorSeed};
use super::{AdapterSupervisor, NormalizedBatch};
use crate::comparison::{DifferenceKind, Differences, add_differences};
use crate::contract::Normalized;
use crate::error::Fault;
use crate::frames::{Frame, FrameBatch};
use crate::index::FrameIndex;
use crate::stats::FaultCause;

/// Events of an accepted kind that the running version gave; a new version that gave none is silent.
const SILENT_EVENTS: u64 = 20;

/// A new version that takes this many times the running one's time, and [`SLOW_TIME`] more, is slow. Frames wait meanwhile, none is lost.
const SLOW_FACTOR: u32 = 10;
const SLOW_TIME: Duration = Duration::from_secs(1);

/// Longest time of one call that counts for it: a machine that stops for a moment says nothing about a version.
const SLOW_CALL: Duration = Duration::from_millis(100);

/// A new version that misses this many deadlines more than the earlier one, within [`DEADLINE_BATCHES`] batches, is worse: a busy machine makes
/// any version miss one, and both get the same batches.
const DEADLINES_MORE: usize = 3;
const DEADLINE_BATCHES: u64 = 1_000;

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

/// A result of the published version and one of the other.
type BothResults = [Option<Result<Normalized, Fault>>; 2];

pub(super) struct Trial {
    other: AdapterVersion,
    is_switched: bool,
    accepted: BTreeSet<DifferenceKind>,
    monitor: Arc<TrialMonitor>,
    batches: u64,
    /// Batches with a missed deadline of the earlier version, and of the new one.
    missed: [VecDeque<u64>; 2],
}

impl Trial {
    fn new(other: AdapterVersion, is_switched: bool, accepted: BTreeSet<DifferenceKind>) -> Self {
        let (monitor, missed) = (Arc::default(), Default::default());
        Self { other, is_switched, accepted, monitor, batches: 0, missed }
    }

    /// Puts what is of the published version and of the other one in the order of the earlier and the new version.
    fn by_age<T>(&self, [published, other]: [T; 2]) -> [T; 2] {
        if self.is_switched { [other, published] } else { [published, other] }
    }

    /// Takes a batch into the report. Returns what ends the trial at once. The outputs and times are those of the earlier and the new version.
    fn compare(&self, batch: &FrameBatch, outputs: [&Normalized; 2], times: [Duration; 2]) -> Option<String> {
        let mut report = self.monitor.lock();
        report.frames += u64::try_from(batch.len()).unwrap_or_default();
        for (version, (normalized, time)) in outputs.iter().zip(times).enumerate() {
            if let Some(total) = report.call_time.get_mut(version) {
                *total += time.min(SLOW_CALL);
            }
            for event in &normalized.events {
                let counts = report.events.entry(event.payload.data_type()).or_default();
                counts.iter_mut().skip(version).take(1).for_each(|count| *count += 1);
            }
        }
        add_differences(&mut report.differences, batch, outputs.into());
        let [running, new] = report.call_time;
        let is_slow = new > running * SLOW_FACTOR + SLOW_TIME;
        let frames = report.frames;
        let slow = || format!("slow: {new:?} for {frames} frames, the earlier version took {running:?}");
        let silent = |(kind, [running, new]): (&DataType, &[u64; 2])| {
            (*new == 0 && *running >= SILENT_EVENTS && self.accepted.contains(&DifferenceKind::Events(*kind)))
                .then(|| format!("silent: no {kind} event, the earlier version gave {running}"))
        };
        let ended = is_slow.then(slow).or_else(|| report.events.iter().find_map(silent));
        drop(report);
        // In the shadow the differences are judged together at its end, with examples of all kinds.
        self.is_switched.then(|| self.unaccepted()).flatten().or(ended)
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

    /// Reason to end the trial at once: the new version faulted on frames that the earlier one read. One of its missed deadlines is none.
    fn blame(&mut self, both: &BothResults) -> Option<String> {
        let missed_too_many = self.miss_deadlines(both);
        let [Some(published), Some(other)] = both else { return None };
        match self.by_age([published, other]) {
            [Ok(_), Err(fault)] if fault.cause == FaultCause::Deadline => missed_too_many,
            [Ok(_), Err(fault)] if !fault.is_host_limit() => Some(fault.to_string()),
            _ => None,
        }
    }

    fn miss_deadlines(&mut self, both: &BothResults) -> Option<String> {
        let is_missed = |result: &Option<Result<Normalized, Fault>>| matches!(result, Some(Err(fault)) if fault.cause == FaultCause::Deadline);
        let missed = self.by_age(both.each_ref().map(is_missed));
        for (of, is_missed) in self.missed.iter_mut().zip(missed) {
            of.extend(is_missed.then_some(self.batches));
            while of.front().is_some_and(|batch| batch + DEADLINE_BATCHES <= self.batches) {
                of.pop_front();
            }
        }
        let [earlier, new] = self.missed.each_ref().map(VecDeque::len);
        (new >= earlier + DEADLINES_MORE).then(|| {
            format!(
                "adapter fault deadline: missed {new} times within {DEADLINE_BATCHES} batches, {earlier} times by the earlier version"
            )
        })
    }

    fn fail(&self, failure: String) {
        self.monitor.lock().failure = Some(failure);
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
        self.seed.clone()
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
        self.begin_trial(successor, accepted, false)
    }

    /// The version that runs is on probation from now on: the earlier one gets the frames too. `None`: as of a shadow.
    pub fn begin_probation(
        &mut self,
        earlier: Successor,
        accepted: BTreeSet<DifferenceKind>,
    ) -> Option<Arc<TrialMonitor>> {
        self.begin_trial(earlier, accepted, true)
    }

    fn begin_trial(
        &mut self,
        other: Successor,
        accepted: BTreeSet<DifferenceKind>,
        is_switched: bool,
    ) -> Option<Arc<TrialMonitor>> {
        if self.trial.is_some() || other.references != self.seed.references.changes() {
            return None;
        }
        let trial = Trial::new(other.version, is_switched, accepted);
        let monitor = Arc::clone(&trial.monitor);
        self.trial = Some(trial);
        Some(monitor)
    }

    /// Events come from the new version from now on; the old one gets the frames too. `None`: no new version is in the shadow any more.
    pub fn switch(&mut self) -> Option<Arc<TrialMonitor>> {
        let mut trial = self.trial.take()?;
        if !trial.is_switched {
            self.exchange(&mut trial.other);
            trial = Trial::new(trial.other, true, trial.accepted);
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
        if successor.references != self.seed.references.changes() {
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
        other.forget_faults();
        self.versions += 1;
    }

    pub(super) fn normalize_in_trial(&mut self, mut trial: Trial, batch: &FrameBatch) -> NormalizedBatch {
        if self.circuit.is_open(Instant::now()) {
            self.trial = Some(trial);
            return self.one_by_one(batch);
        }
        trial.batches += 1;
        let (published, time) = timed(|| self.start_or_try(batch));
        let (other, other_time) = timed(|| trial.other.normalize(&self.seed, batch));
        let times = trial.by_age([time, other_time]);
        let both = [Some(published), other];
        let failure = trial.blame(&both);
        match (both, failure) {
            ([Some(Ok(published)), Some(Ok(other))], _) => {
                let outputs = trial.by_age([&published, &other]);
                match trial.compare(batch, outputs, times) {
                    None => {
                        self.trial = Some(trial);
                        self.good_batch(batch, published)
                    }
                    Some(failure) if trial.is_switched => {
                        self.fall_back(trial, failure);
                        self.good_batch(batch, other)
                    }
                    Some(failure) => {
                        trial.fail(failure);
                        self.good_batch(batch, published)
                    }
                }
            }
            ([Some(Ok(published)), None], _) => {
                self.trial = Some(trial);
                self.good_batch(batch, published)
            }
            ([Some(Ok(published)), Some(Err(_))], Some(failure)) if !trial.is_switched => {
                trial.fail(failure);
                self.good_batch(batch, published)
            }
            ([Some(Err(fault)), Some(Ok(other))], Some(failure)) if trial.is_switched => {
                self.discard(&fault);
                self.fall_back(trial, failure);
                self.good_batch(batch, other)
            }
            ([published, other], _) => {
                if let Some(Err(fault)) = &published {
                    self.discard(fault);
                }
                self.frame_by_frame(trial, batch, [published, other])
            }
        }
    }

    /// A version faulted on the batch: what it gives for each frame decides. A version that did not fault gets no frame twice.
    fn frame_by_frame(
        &mut self,
        trial: Trial,
        batch: &FrameBatch,
        [published, other]: BothResults,
    ) -> NormalizedBatch {
        let of_frames = |result: Option<Result<Normalized, Fault>>| {
            result.and_then(Result::ok).map(|result| FrameResults::new(&result, batch.len()))
        };
        let mut known = [of_frames(published), of_frames(other)];
        let (mut repeats, mut trial) = (Repeats::new(self.host_wait), Some(trial));
        for (position, frame) in FrameIndex::enumerate(batch.iter()) {
            let next = known.each_mut().map(|of| of.as_mut().map(FrameResults::next));
            let was_on_probation = trial.as_ref().is_some_and(|trial| trial.is_switched);
            match (trial.take(), next) {
                (Some(running), next) if !self.circuit.is_open(Instant::now()) => {
                    trial = self.compare_frame(running, &mut repeats, (position, frame), next);
                    if trial.is_none() && was_on_probation {
                        known = {
                            let [_, other] = known;
                            [other, None]
                        };
                    }
                }
                (kept, [Some(published), _]) => {
                    trial = kept;
                    self.take_repeat(&mut repeats, (position, frame), Ok(published), Duration::ZERO);
                }
                (kept, _) => {
                    trial = kept;
                    self.repeat(&mut repeats, (position, frame));
                }
            }
        }
        self.trial = trial;
        repeats.outcome
    }

    /// Gives a frame to both versions, where its result is not known, and publishes one result. `None`: that ended the trial.
    fn compare_frame(
        &mut self,
        mut trial: Trial,
        repeats: &mut Repeats,
        (position, frame): (FrameIndex, Frame<'_>),
        known: [Option<Normalized>; 2],
    ) -> Option<Trial> {
        let Ok(single) = single(frame) else { return Some(trial) };
        let [published, other] = known;
        let (published, time) = timed(|| match published {
            Some(known) => Ok(known),
            None => self.normalize_until(frame, repeats.patience),
        });
        let (other, other_time) = timed(|| match other {
            Some(known) => Some(Ok(known)),
            None => trial.other.normalize(&self.seed, &single),
        });
        let both = [Some(published), other];
        let failure = match &both {
            [Some(Ok(published)), Some(Ok(other))] => {
                trial.compare(&single, trial.by_age([published, other]), trial.by_age([time, other_time]))
            }
            _ => trial.blame(&both),
        };
        let [Some(published), other] = both else { return Some(trial) };
        let is_switched = trial.is_switched;
        let result = match (published, other) {
            (published, Some(Ok(other))) if is_switched && (failure.is_some() || published.is_err()) => {
                if let Err(fault) = &published {
                    self.discard(fault);
                }
                Ok(other)
            }
            (published, _) => published,
        };
        let ended = match failure {
            None => Some(trial),
            Some(failure) => {
                if is_switched {
                    self.fall_back(trial, failure)
                } else {
                    trial.fail(failure)
                }
                None
            }
        };
        self.take_repeat(repeats, (position, frame), result, time);
        ended
    }

    fn fall_back(&mut self, mut trial: Trial, failure: String) {
        self.exchange(&mut trial.other);
        trial.fail(failure);
    }
}
