//! A change of version in all running parts of the feeds of an adapter.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use marketprism_adapter_host::contract::Instrument;
use marketprism_adapter_host::{
    Adapter, DIFFERENCE_EXAMPLES, DifferenceKind, Differences, Successor, TrialMonitor,
};
use tokio::sync::oneshot;
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::checks::SwapFailure;
use super::record::SwapStep;
use crate::feed::{FeedPhase, FeedRoster, FeedStatus, VersionCommand};
use crate::limits::{SUCCESSOR_TRIES, VERSION_ANSWER};

/// A running part of a feed with the version from before the change.
pub(super) struct PartSwap {
    pub(super) status: Arc<FeedStatus>,
    pub(super) from: Adapter,
    starts: u64,
    monitor: Option<Arc<TrialMonitor>>,
}

type TrialAnswer = oneshot::Sender<Option<Arc<TrialMonitor>>>;

/// Comparison over all parts.
#[derive(Default)]
pub(super) struct TrialTotals {
    pub(super) frames: u64,
    pub(super) differences: Differences,
    /// The first failure, with its feed.
    pub(super) failure: Option<String>,
}

/// The running parts of the feeds that run an adapter of this name.
pub(super) fn running_parts(roster: &FeedRoster, name: &str) -> Vec<PartSwap> {
    let part = |status: Arc<FeedStatus>| {
        let from = status.running_adapter()?;
        let is_of = from.description().name == name;
        is_of.then(|| PartSwap { starts: status.starts(), from, status, monitor: None })
    };
    roster.list().into_iter().filter_map(part).collect()
}

impl PartSwap {
    fn failure(&self, step: SwapStep, reason: &str) -> SwapFailure {
        SwapFailure::new(step, format!("{}: {reason}", self.status.exchange))
    }

    async fn ask<T>(
        &self,
        step: SwapStep,
        command: impl FnOnce(oneshot::Sender<T>) -> VersionCommand,
    ) -> Result<T, SwapFailure> {
        let (sender, answer) = oneshot::channel();
        self.status.versions.send(command(sender));
        match timeout(VERSION_ANSWER, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_ended)) => Err(self.failure(step, "the feed ended meanwhile")),
            Err(_elapsed) => {
                Err(self.failure(step, &format!("no answer of the pipeline in {VERSION_ANSWER:?}")))
            }
        }
    }

    pub(super) fn is_in(&self, roster: &FeedRoster) -> bool {
        roster.list().iter().any(|one| Arc::ptr_eq(one, &self.status))
    }

    /// True if the pipeline that was found runs still.
    pub(super) fn is_running(&self, roster: &FeedRoster) -> bool {
        let status = &self.status;
        self.is_in(roster) && status.running_adapter().is_some() && status.starts() == self.starts
    }

    pub(super) fn replacing(self, from: Adapter) -> Self {
        Self { from, ..self }
    }

    pub(super) fn runs(&self, adapter: &Adapter) -> bool {
        self.status.running_adapter().is_some_and(|running| running.digest() == adapter.digest())
    }

    pub(super) async fn instruments(&self) -> Result<Vec<Instrument>, SwapFailure> {
        let seed = self.ask(SwapStep::Instruments, VersionCommand::Seed).await?;
        Ok(seed.instruments().to_vec())
    }

    async fn successor(&self, adapter: &Adapter) -> Result<Successor, SwapFailure> {
        let seed = self.ask(SwapStep::Plan, VersionCommand::Seed).await?;
        let prepared = block_in_place(|| seed.prepare(adapter));
        prepared.map_err(|error| self.failure(SwapStep::Plan, &error.to_string()))
    }

    /// Starts the new version in parallel with the running one.
    pub(super) async fn begin_shadow(
        &mut self,
        adapter: &Adapter,
        accepted: &BTreeSet<DifferenceKind>,
    ) -> Result<(), SwapFailure> {
        self.begin_trial(adapter, accepted, VersionCommand::Shadow).await
    }

    /// Starts the earlier version in parallel with the new one, which this part began with.
    pub(super) async fn begin_probation(
        &mut self,
        accepted: &BTreeSet<DifferenceKind>,
    ) -> Result<(), SwapFailure> {
        self.begin_trial(&self.from.clone(), accepted, VersionCommand::Probation).await
    }

    async fn begin_trial(
        &mut self,
        other: &Adapter,
        accepted: &BTreeSet<DifferenceKind>,
        command: fn(Box<Successor>, BTreeSet<DifferenceKind>, TrialAnswer) -> VersionCommand,
    ) -> Result<(), SwapFailure> {
        for _ in 0..SUCCESSOR_TRIES {
            let successor = Box::new(self.successor(other).await?);
            let begin = |answer| command(successor, accepted.clone(), answer);
            self.monitor = self.ask(SwapStep::Plan, begin).await?;
            if self.monitor.is_some() {
                return Ok(());
            }
        }
        Err(self.failure(SwapStep::Plan, "reference answers are renewed faster than they can be replayed"))
    }

    /// Changes the version without a shadow.
    pub(super) async fn replace(&self, adapter: &Adapter) -> Result<(), SwapFailure> {
        for _ in 0..SUCCESSOR_TRIES {
            let successor = Box::new(self.successor(adapter).await?);
            if self.ask(SwapStep::Switch, |answer| VersionCommand::Replace(successor, answer)).await? {
                return Ok(());
            }
        }
        Err(self.failure(SwapStep::Switch, "reference answers are renewed faster than they can be replayed"))
    }

    /// Returns the time in which the pipeline took no frame.
    pub(super) async fn switch(&mut self) -> Result<Duration, SwapFailure> {
        let switched = self.ask(SwapStep::Switch, VersionCommand::Switch).await?;
        let Some(switched) = switched else {
            let failure = self.monitor.as_ref().and_then(|monitor| monitor.report().failure);
            let reason =
                failure.unwrap_or_else(|| "the new version is not in the shadow any more".to_owned());
            return Err(self.failure(SwapStep::Shadow, &reason));
        };
        self.monitor = Some(switched.monitor);
        Ok(switched.pause)
    }

    pub(super) async fn roll_back(&self) -> Result<(), SwapFailure> {
        self.ask(SwapStep::Switch, VersionCommand::RollBack).await
    }

    pub(super) async fn end_trial(&self) -> Result<(), SwapFailure> {
        self.ask(SwapStep::Probation, VersionCommand::EndTrial).await
    }
}

/// Adds up the trials. A part that ended because nothing of it is listed any more is left out, one that started again is a failure.
pub(super) fn totals(parts: &[PartSwap], roster: &FeedRoster) -> TrialTotals {
    let mut totals = TrialTotals::default();
    let all = roster.list();
    let (present, removed): (Vec<_>, Vec<_>) =
        parts.iter().partition(|part| all.iter().any(|one| Arc::ptr_eq(one, &part.status)));
    let is_again = |removed: &PartSwap| {
        all.iter().any(|one| one.exchange == removed.status.exchange && one.part == removed.status.part)
    };
    if let Some(part) = removed.into_iter().find(|part| present.is_empty() || is_again(part)) {
        totals.failure = Some(format!("{}: the feed ended meanwhile", part.status.exchange));
    }
    for part in present {
        let exchange = &part.status.exchange;
        if part.status.phase() != FeedPhase::Running || part.status.starts() != part.starts {
            totals.failure.get_or_insert(format!("{exchange}: the feed started again meanwhile"));
        }
        let Some(report) = part.monitor.as_ref().map(|monitor| monitor.report()) else { continue };
        totals.frames += report.frames;
        for (kind, found) in report.differences {
            let of_kind = totals.differences.entry(kind).or_default();
            of_kind.frames += found.frames;
            of_kind.examples.extend(found.examples);
            // The stored history is bounded, whatever the number of parts.
            of_kind.examples.truncate(DIFFERENCE_EXAMPLES);
        }
        if let Some(failure) = report.failure {
            totals.failure.get_or_insert(format!("{exchange}: {failure}"));
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind, component};
    use marketprism_adapter_host::{Engine, Limits};

    use super::*;

    #[test]
    fn a_resting_part_gets_no_command() {
        let engine = Engine::new(None).unwrap();
        let adapter =
            Adapter::from_bytes(&engine, &component(FixtureKind::WellBehaved), &Limits::default()).unwrap();
        let name = adapter.description().name.clone();
        let status = Arc::new(FeedStatus::new(EXCHANGE, &[], adapter.clone()));
        let roster = FeedRoster::new(vec![Arc::clone(&status)]);
        status.set_resting();
        assert_eq!(status.phase(), FeedPhase::Running);
        assert_eq!(running_parts(&roster, &name).len(), 0);
        status.set_running_adapter(adapter);
        assert_eq!(running_parts(&roster, &name).len(), 1);
    }

    #[test]
    fn a_feed_that_a_reload_replaced_is_no_evidence() {
        let engine = Engine::new(None).unwrap();
        let adapter =
            Adapter::from_bytes(&engine, &component(FixtureKind::WellBehaved), &Limits::default()).unwrap();
        let part = |number| {
            let status = FeedStatus::new(EXCHANGE, &[], adapter.clone()).with_part(number);
            status.set_resting();
            status.set_running_adapter(adapter.clone());
            Arc::new(status)
        };
        let (first, second) = (part(0), part(1));
        let roster = FeedRoster::new(vec![Arc::clone(&first), Arc::clone(&second)]);
        let parts = running_parts(&roster, &adapter.description().name);
        let failure = || totals(&parts, &roster).failure;
        assert_eq!((parts.len(), failure()), (2, None));
        roster.remove(&second);
        assert_eq!(failure(), None, "an ended part is left out");
        roster.add(part(1));
        assert!(failure().is_some_and(|reason| reason.ends_with("the feed ended meanwhile")));
        roster.remove(&first);
        assert!(failure().is_some());
    }
}
