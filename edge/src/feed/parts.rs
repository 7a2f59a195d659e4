//! The parts of a feed: one has the instruments that its start found, others those that the venue listed later. Each instrument belongs to
//! one part at most, whichever reads the lists first.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use marketprism_adapter_host::contract::{Decimal, Instrument};
use marketprism_schema::{DowntimeReason, MarketType};

use super::status::FeedStatus;
use crate::config::SymbolSelection;
use crate::limits::{IMPLAUSIBLE_LISTS, LISTS_WITHOUT, SYMBOLS_NAMED_MAX};
use crate::records::InstrumentMemory;

/// Position of a part in its feed; 0 is the part of the start.
pub type PartNumber = u32;

/// Symbol and market type.
pub type InstrumentKey = (String, MarketType);

/// Of a pipeline that has ended: its instruments' recent events.
pub type StreamMemories = BTreeMap<InstrumentKey, InstrumentMemory>;

/// A market that its rank selects.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedMarket {
    pub key: InstrumentKey,
    /// From 1 on.
    pub rank: usize,
    /// `None`: the venue's ranking lacks it.
    pub value: Option<Decimal>,
}

pub fn key_of(instrument: &Instrument) -> InstrumentKey {
    (instrument.symbol.clone(), instrument.market_type.into())
}

pub fn named<'s>(symbols: impl ExactSizeIterator<Item = &'s str>) -> String {
    let count = symbols.len();
    let mut text = symbols.take(SYMBOLS_NAMED_MAX).collect::<Vec<_>>().join(", ");
    if count > SYMBOLS_NAMED_MAX {
        text.push_str(&format!(" and {} more", count - SYMBOLS_NAMED_MAX));
    }
    text
}

#[derive(Debug, Clone)]
struct CollectedInstrument {
    part: PartNumber,
    /// As the venue listed it last.
    instrument: Instrument,
    /// Lists in a row that lack it.
    missed: u32,
}

/// The part of each instrument that is collected. One list without an instrument does not end it: venues give empty and partial lists during
/// maintenance.
#[derive(Debug, Default)]
pub struct InstrumentParts {
    collected: Mutex<BTreeMap<InstrumentKey, CollectedInstrument>>,
    /// By the newest ranking.
    outranked: Mutex<BTreeSet<InstrumentKey>>,
    /// Of a pipeline that ends, while another one waits to go on with its streams.
    memories: Mutex<Option<StreamMemories>>,
}

/// Instruments that a listing or a configuration takes from a part, by part.
pub type KeysByPart = BTreeMap<PartNumber, Vec<InstrumentKey>>;

/// Consequences of a new listing.
#[derive(Debug, Default)]
pub struct ListingChange {
    /// For a new part: also those with changed terms.
    pub new: Vec<Instrument>,
    /// Instruments with other terms than before, by the part that they leave: its adapter instance and books know the old terms.
    pub changed: KeysByPart,
    pub delisted: KeysByPart,
    /// Collected instruments that the list lacks, and too few lists before it.
    pub missed: Vec<InstrumentKey>,
    /// The list lacks more than half of what is collected.
    pub is_implausible: bool,
}

impl InstrumentParts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstrumentKey, CollectedInstrument>> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn keys(&self) -> BTreeSet<InstrumentKey> {
        self.lock().keys().cloned().collect()
    }

    /// Takes out what has fallen out of the ranking, from one part or from all.
    pub fn outrank(&self, outranked: &BTreeSet<InstrumentKey>, part: Option<PartNumber>) -> KeysByPart {
        self.outranked.lock().unwrap_or_else(PoisonError::into_inner).clone_from(outranked);
        self.take_out(|key, of| part.is_some_and(|part| of != part) || !outranked.contains(key))
    }

    fn take_out(&self, stays: impl Fn(&InstrumentKey, PartNumber) -> bool) -> KeysByPart {
        let mut out = KeysByPart::new();
        self.lock().retain(|key, one| {
            let stays = stays(key, one.part);
            if !stays {
                out.entry(one.part).or_default().push(key.clone());
            }
            stays
        });
        out
    }

    /// A part starts (again): its own instruments, also those that the list lacks for the first time. The first part takes all that no other
    /// part has.
    pub fn begin(&self, part: PartNumber, listed: &[Instrument]) -> Vec<Instrument> {
        let mut all = self.lock();
        miss(&mut all, listed, |of| of == part);
        if part == 0 {
            take_new(&mut all, listed, part);
        }
        of_part(&all, part)
    }

    pub fn change(&self, listed: &[Instrument], added: PartNumber) -> ListingChange {
        let mut all = self.lock();
        let changed = take_changed(&mut all, listed);
        let change = miss(&mut all, listed, |_| true);
        ListingChange { new: take_new(&mut all, listed, added), changed, ..change }
    }

    /// Moves the instruments of a part that ends to another one.
    pub fn merge(&self, from: PartNumber, to: PartNumber) {
        self.lock().values_mut().filter(|one| one.part == from).for_each(|one| one.part = to);
    }

    /// Of the feed that takes this one's place: its first part has what it still selects, so that one list without an instrument does not end
    /// it then either.
    pub fn successor(&self, is_selected: impl Fn(&InstrumentKey) -> bool) -> Self {
        let all = self.lock();
        let kept = all.iter().filter(|(key, _)| is_selected(key));
        let kept = kept.map(|(key, one)| (key.clone(), CollectedInstrument { part: 0, ..one.clone() }));
        Self { collected: Mutex::new(kept.collect()), ..Self::default() }
    }

    /// The pipelines that end from here on leave what they know of their streams.
    pub fn expect_memories(&self) {
        *self.memories() = Some(StreamMemories::new());
    }

    pub fn remember(&self, memories: StreamMemories) {
        if let Some(expected) = &mut *self.memories() {
            expected.extend(memories);
        }
    }

    pub fn take_memories(&self) -> StreamMemories {
        self.memories().take().unwrap_or_default()
    }

    /// All instruments, as the venue listed them last.
    pub fn instruments(&self) -> Vec<Instrument> {
        self.lock().values().map(|one| one.instrument.clone()).collect()
    }

    fn memories(&self) -> MutexGuard<'_, Option<StreamMemories>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of(&self, part: PartNumber) -> Vec<Instrument> {
        of_part(&self.lock(), part)
    }

    /// The keys of these instruments that are not the part's own (any more), with the reason.
    pub fn lost(
        &self,
        part: PartNumber,
        instruments: &[Instrument],
        selection: &SymbolSelection,
    ) -> BTreeMap<DowntimeReason, Vec<InstrumentKey>> {
        let all = self.lock();
        let outranked = self.outranked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = |key: &InstrumentKey| all.get(key).is_some_and(|one| one.part == part);
        let mut lost: BTreeMap<DowntimeReason, Vec<InstrumentKey>> = BTreeMap::new();
        for key in instruments.iter().map(key_of).filter(|key| !is_own(key)) {
            let reason = match selection.includes(&key.0) {
                false => DowntimeReason::Removed,
                true if outranked.contains(&key) => DowntimeReason::Outranked,
                true => DowntimeReason::Delisted,
            };
            lost.entry(reason).or_default().push(key);
        }
        lost
    }

    /// Takes out what a new selection does not include.
    pub fn deselect(&self, selection: &SymbolSelection) -> KeysByPart {
        self.take_out(|(symbol, _), _| selection.includes(symbol))
    }

    pub fn is_empty(&self, part: PartNumber) -> bool {
        self.lock().values().all(|one| one.part != part)
    }
}

/// Counts the list for the instruments of these parts, and takes out those that enough lists in a row lack.
fn miss(
    all: &mut BTreeMap<InstrumentKey, CollectedInstrument>,
    listed: &[Instrument],
    is_read_for: impl Fn(PartNumber) -> bool,
) -> ListingChange {
    let listed: BTreeMap<InstrumentKey, &Instrument> =
        listed.iter().map(|instrument| (key_of(instrument), instrument)).collect();
    let of_parts = all.iter().filter(|(_, one)| is_read_for(one.part));
    let (known, lacking) = of_parts.fold((0, 0), |(known, lacking), (key, _)| {
        (known + 1, lacking + usize::from(!listed.contains_key(key)))
    });
    let mut change = ListingChange { is_implausible: lacking * 2 > known, ..ListingChange::default() };
    let enough = if change.is_implausible { IMPLAUSIBLE_LISTS } else { LISTS_WITHOUT };
    all.retain(|key, one| {
        if !is_read_for(one.part) {
            return true;
        }
        if let Some(instrument) = listed.get(key) {
            (one.instrument, one.missed) = ((*instrument).clone(), 0);
            return true;
        }
        one.missed += 1;
        let stays = one.missed < enough;
        match stays {
            true => change.missed.push(key.clone()),
            false => change.delisted.entry(one.part).or_default().push(key.clone()),
        }
        stays
    });
    change
}

/// Takes the instruments with other terms from their parts.
fn take_changed(all: &mut BTreeMap<InstrumentKey, CollectedInstrument>, listed: &[Instrument]) -> KeysByPart {
    let mut changed = KeysByPart::new();
    for instrument in listed {
        let key = key_of(instrument);
        if all.get(&key).is_some_and(|one| !has_same_terms(&one.instrument, instrument))
            && let Some(one) = all.remove(&key)
        {
            changed.entry(one.part).or_default().push(key);
        }
    }
    changed
}

/// Trading or not, it is read the same way.
fn has_same_terms(one: &Instrument, other: &Instrument) -> bool {
    *one == Instrument { trading: one.trading, ..other.clone() }
}

/// Gives the listed instruments that have no part to this one.
fn take_new(
    all: &mut BTreeMap<InstrumentKey, CollectedInstrument>,
    listed: &[Instrument],
    part: PartNumber,
) -> Vec<Instrument> {
    let mut new = Vec::new();
    for instrument in listed {
        if let Entry::Vacant(free) = all.entry(key_of(instrument)) {
            free.insert(CollectedInstrument { part, instrument: instrument.clone(), missed: 0 });
            new.push(instrument.clone());
        }
    }
    new
}

fn of_part(all: &BTreeMap<InstrumentKey, CollectedInstrument>, part: PartNumber) -> Vec<Instrument> {
    all.values().filter(|one| one.part == part).map(|one| one.instrument.clone()).collect()
}

/// The parts of all feeds that run, for the HTTP pages.
#[derive(Debug, Default)]
pub struct FeedRoster(RwLock<Vec<Arc<FeedStatus>>>);

impl FeedRoster {
    pub fn new(statuses: Vec<Arc<FeedStatus>>) -> Self {
        Self(RwLock::new(statuses))
    }

    pub fn list(&self) -> Vec<Arc<FeedStatus>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn add(&self, status: Arc<FeedStatus>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(status);
    }

    pub fn remove(&self, status: &Arc<FeedStatus>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|one| !Arc::ptr_eq(one, status));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::fixtures::spot;

    fn listed(symbols: &[&str]) -> Vec<Instrument> {
        symbols.iter().map(|symbol| spot(symbol)).collect()
    }

    fn names(instruments: &[Instrument]) -> Vec<&str> {
        instruments.iter().map(|one| one.symbol.as_str()).collect()
    }

    fn key(symbol: &str) -> InstrumentKey {
        (symbol.to_owned(), MarketType::Spot)
    }

    #[test]
    fn each_instrument_belongs_to_one_part_through_listings_delistings_and_restarts() {
        let parts = InstrumentParts::default();
        assert_eq!(names(&parts.begin(0, &listed(&["A", "B"]))), ["A", "B"]);
        assert_eq!(parts.change(&listed(&["B"]), 1).missed, [key("A")]);
        let change = parts.change(&listed(&["B", "C", "D"]), 1);
        assert_eq!(names(&change.new), ["C", "D"]);
        assert_eq!(change.delisted[&0], [key("A")]);
        let again = parts.begin(0, &listed(&["A", "B", "C", "D"]));
        assert_eq!(names(&again), ["A", "B"], "the first part starts again, C and D have a part");
        assert_eq!(names(&parts.begin(1, &listed(&["A", "B", "D", "E"]))), ["C", "D"], "E is no part's own");
        assert_eq!(names(&parts.begin(1, &listed(&["A", "B", "D", "E"]))), ["D"], "C is delisted");
        parts.change(&listed(&["A", "B", "C"]), 2);
        let change = parts.change(&listed(&["A", "B", "C"]), 3);
        assert_eq!((change.new.len(), change.delisted[&1].len()), (0, 1));
        assert!(parts.is_empty(1) && !parts.is_empty(2));
        parts.merge(2, 3);
        assert_eq!(names(&parts.of(3)), ["C"]);
        let selection = SymbolSelection::new(&["B".to_owned(), "C".to_owned()], &[]);
        let lost = parts.lost(0, &listed(&["A", "C", "X"]), &selection);
        assert_eq!(
            lost,
            [(DowntimeReason::Removed, vec![key("X")]), (DowntimeReason::Delisted, vec![key("C")])].into()
        );
        assert_eq!(parts.deselect(&selection), [(0, vec![key("A")])].into());
        assert_eq!(parts.keys(), [key("B"), key("C")].into());
    }

    #[test]
    fn what_falls_out_of_the_ranking_leaves_its_part_and_is_not_delisted() {
        let parts = InstrumentParts::default();
        let started = parts.begin(0, &listed(&["A", "B", "C"]));
        parts.change(&listed(&["A", "B", "C", "D"]), 1);
        assert!(parts.outrank(&[key("D")].into(), Some(0)).is_empty(), "of another part");
        let outranked = [key("B"), key("D"), key("Z")].into();
        assert_eq!(parts.outrank(&outranked, None), [(0, vec![key("B")]), (1, vec![key("D")])].into());
        let change = parts.change(&listed(&["A", "C"]), 2);
        assert!(change.new.is_empty() && change.delisted.is_empty() && change.missed.is_empty());
        let all = SymbolSelection::new(&["*".to_owned()], &[]);
        assert_eq!(parts.lost(0, &started, &all), [(DowntimeReason::Outranked, vec![key("B")])].into());
        assert_eq!(names(&parts.change(&listed(&["A", "B", "C"]), 2).new), ["B"], "ranked again");
    }

    #[test]
    fn an_instrument_with_other_terms_moves_to_the_new_part_and_no_other_does() {
        let parts = InstrumentParts::default();
        parts.begin(0, &listed(&["A", "B"]));
        let mut again = listed(&["A", "B"]);
        again[0].trading = false;
        assert!(parts.change(&again, 1).new.is_empty());
        again[1].price_scale = 3;
        let change = parts.change(&again, 1);
        assert_eq!((names(&change.new), &change.changed), (vec!["B"], &[(0, vec![key("B")])].into()));
        assert!(change.delisted.is_empty() && change.missed.is_empty());
        assert_eq!(parts.of(1)[0].price_scale, 3);
        assert!(parts.change(&again, 2).changed.is_empty());
        again[1].price_scale = 4;
        assert_eq!(parts.begin(1, &again)[0].price_scale, 4, "a part that starts takes the new terms");
        assert!(parts.change(&again, 2).changed.is_empty());
    }

    #[test]
    fn a_feed_that_starts_again_by_a_partial_list_keeps_what_all_its_parts_collected_and_is_selected() {
        let parts = InstrumentParts::default();
        parts.begin(0, &listed(&["A", "B", "C"]));
        parts.change(&listed(&["A", "B", "C", "D"]), 1);
        let parts = parts.successor(|(symbol, _)| symbol != "B");
        assert_eq!(names(&parts.begin(0, &listed(&["A", "E"]))), ["A", "C", "D", "E"]);
        let change = parts.change(&listed(&["A", "C", "E"]), 1);
        assert_eq!((change.delisted[&0].as_slice(), change.new.len()), (&[key("D")][..], 0));
    }

    /// During maintenance a venue answers with an empty or a partial list.
    #[test]
    fn a_list_that_lacks_instruments_once_ends_none_and_an_implausible_one_not_soon() {
        let parts = InstrumentParts::default();
        parts.begin(0, &listed(&["A", "B", "C"]));
        for of in [&["A", "B"][..], &["A", "B", "C"], &["A", "C"], &[], &["A", "B", "C"]] {
            let change = parts.change(&listed(of), 1);
            assert!(change.delisted.is_empty() && change.new.is_empty(), "{of:?}: {change:?}");
            assert_eq!((change.missed.len(), change.is_implausible), (3 - of.len(), of.is_empty()));
        }
        assert_eq!(names(&parts.begin(0, &[])), ["A", "B", "C"], "a restart keeps them");
        for _ in 2..IMPLAUSIBLE_LISTS {
            assert!(parts.change(&[], 1).delisted.is_empty());
        }
        assert_eq!(parts.change(&[], 1).delisted[&0].len(), 3);
    }
}
