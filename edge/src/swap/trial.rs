//! A change of version that has begun, in all parts of the adapter's feeds. A part that begins to run meanwhile is on trial too.

use std::collections::BTreeSet;
use std::sync::Arc;

use marketprism_adapter_host::{Adapter, DifferenceKind, venue_difference};

use super::checks::{ListFailure, SwapFailure, check_instruments};
use super::parts::{PartSwap, running_parts};
use super::record::SwapStep;
use crate::config::CurrentAdapter;
use crate::feed::{FeedRoster, ListingReaders};

pub(super) struct SwapTrial {
    pub(super) parts: Vec<PartSwap>,
    pub(super) to: Option<Adapter>,
    pub(super) accepted: BTreeSet<DifferenceKind>,
    pub(super) is_switched: bool,
    /// Versions that feeds started with before the switch.
    before: Vec<(CurrentAdapter, Adapter)>,
}

impl SwapTrial {
    pub(super) fn new(accepted: BTreeSet<DifferenceKind>) -> Self {
        Self { parts: Vec::new(), to: None, accepted, is_switched: false, before: Vec::new() }
    }

    /// Feeds of the adapter start with this version from now on, also those of another file and those that are starting.
    pub(super) fn begin_with(&mut self, to: &Adapter, roster: &FeedRoster) {
        for status in roster.list() {
            let from = status.current.get();
            if from.description().name == to.description().name && from.digest() != to.digest() {
                status.current.set(to.clone());
                self.before.push((status.current.clone(), from));
            }
        }
    }

    /// Feeds start with their versions from before again.
    pub(super) fn begin_as_before(&mut self) {
        // A version that was replaced twice has its first one last.
        for (current, from) in self.before.drain(..).rev() {
            current.set(from);
        }
    }

    /// The versions that were replaced.
    pub(super) fn replaced(&self) -> impl Iterator<Item = &Adapter> {
        self.before.iter().map(|(_, from)| from).chain(self.parts.iter().map(|part| &part.from))
    }

    /// Puts the running parts on trial that are not yet. A part that ends meanwhile is left out.
    pub(super) async fn join(
        &mut self,
        roster: &FeedRoster,
        readers: &ListingReaders,
    ) -> Result<(), SwapFailure> {
        let Some(to) = self.to.clone() else { return Ok(()) };
        if self.is_switched {
            self.begin_with(&to, roster);
        }
        for part in running_parts(roster, &to.description().name) {
            if self.parts.iter().any(|known| Arc::ptr_eq(&known.status, &part.status)) {
                continue;
            }
            let Some(part) = self.on_trial(part, &to) else { continue };
            // Before its trial begins: whatever ends the change takes it back.
            self.parts.push(part);
            let Some(part) = self.parts.last_mut() else { continue };
            let joined = join_part(part, (&to, &self.accepted, self.is_switched), readers).await;
            let (exchange, number) = (&part.status.exchange, part.status.part);
            match joined {
                Ok(()) => {
                    tracing::info!(exchange, part = number, adapter = to.id(), "a part joins the trial")
                }
                Err(failure) if part.is_running(roster) => return Err(failure),
                Err(_ended) => drop(self.parts.pop()),
            }
        }
        Ok(())
    }

    /// `None`: the version of the part's own file is the new one.
    fn on_trial(&self, part: PartSwap, to: &Adapter) -> Option<PartSwap> {
        if part.from.digest() != to.digest() {
            return Some(part);
        }
        let current = &part.status.current;
        let (_, from) = self.before.iter().find(|(of, _)| self.is_switched && of.is_same(current))?;
        Some(part.replacing(from.clone()))
    }
}

async fn join_part(
    part: &mut PartSwap,
    (to, accepted, is_switched): (&Adapter, &BTreeSet<DifferenceKind>, bool),
    readers: &ListingReaders,
) -> Result<(), SwapFailure> {
    let exchange = part.status.exchange.clone();
    if let Some(difference) = venue_difference(part.from.venue(&exchange), to.venue(&exchange)) {
        let reason = format!("describes {exchange} otherwise: {difference}");
        return Err(SwapFailure::new(SwapStep::Feeds, reason));
    }
    if let Some(reader) = readers.get(&exchange) {
        let (running, reader) = (part.instruments().await?, reader.with_adapter(part.from.clone()));
        match check_instruments(&reader, to, &running).await {
            Err(ListFailure::Differ(reason)) => return Err(SwapFailure::new(SwapStep::Instruments, reason)),
            // Of the venue, or reported by the part's own lists.
            Err(ListFailure::Unreadable(reason)) => {
                tracing::warn!(exchange, reason, "instruments of a part on trial not compared");
            }
            Ok(()) => {}
        }
    }
    if is_switched && part.runs(to) {
        return part.begin_probation(accepted).await;
    }
    part.begin_shadow(to, accepted).await?;
    if is_switched {
        part.switch().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind, component};
    use marketprism_adapter_host::{Engine, Limits, with_custom_section};

    use super::*;
    use crate::feed::FeedStatus;

    fn version(engine: &Engine, number: u8) -> Adapter {
        let bytes = with_custom_section(&component(FixtureKind::WellBehaved), "version", &[number]);
        Adapter::from_bytes(engine, &bytes, &Limits::default()).unwrap()
    }

    #[test]
    fn a_feed_of_another_file_that_is_starting_begins_with_the_new_version_and_goes_back() {
        let engine = Engine::new(None).unwrap();
        let [one, other, new] = [1, 2, 3].map(|number| version(&engine, number));
        let (running, starting) = (CurrentAdapter::from(one.clone()), CurrentAdapter::from(other.clone()));
        let status = |current: &CurrentAdapter| Arc::new(FeedStatus::new(EXCHANGE, &[], current.clone()));
        let statuses = [status(&running), status(&running), status(&starting)];
        let roster = FeedRoster::new(statuses.to_vec());
        let mut trial = SwapTrial::new(BTreeSet::new());
        trial.to = Some(new.clone());
        statuses[0].set_running_adapter(one.clone());
        trial.parts = running_parts(&roster, &one.description().name);
        assert_eq!(trial.parts.len(), 1);

        trial.is_switched = true;
        trial.begin_with(&new, &roster);
        assert_eq!([&running, &starting].map(|one| one.get().digest().to_owned()), [new.digest(); 2]);
        // It is compared with the version of its own file.
        statuses[2].set_running_adapter(new.clone());
        let begun = running_parts(&roster, &one.description().name).pop().unwrap();
        assert_eq!(trial.on_trial(begun, &new).unwrap().from.digest(), other.digest());
        let replaced: BTreeSet<&str> = trial.replaced().map(Adapter::digest).collect();
        assert_eq!(replaced, BTreeSet::from([one.digest(), other.digest()]));

        trial.begin_as_before();
        assert_eq!([running.get().digest(), starting.get().digest()], [one.digest(), other.digest()]);
    }

    #[test]
    fn a_part_whose_own_file_is_the_new_version_is_not_on_trial() {
        let engine = Engine::new(None).unwrap();
        let new = version(&engine, 1);
        let status = Arc::new(FeedStatus::new(EXCHANGE, &[], new.clone()));
        status.set_running_adapter(new.clone());
        let roster = FeedRoster::new(vec![status]);
        let part = || running_parts(&roster, &new.description().name).pop().unwrap();
        let mut trial = SwapTrial::new(BTreeSet::new());
        assert!(trial.on_trial(part(), &new).is_none());
        (trial.is_switched, trial.to) = (true, Some(new.clone()));
        trial.begin_with(&new, &roster);
        assert!(trial.on_trial(part(), &new).is_none());
    }
}
