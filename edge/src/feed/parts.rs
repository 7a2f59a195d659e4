//! The parts of a feed: one has the instruments that its start found, others those that the venue listed later. Each instrument belongs to
//! one part at most, whichever reads the lists first.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use marketprism_adapter_host::contract::{Decimal, Instrument};
use marketprism_schema::{DowntimeReason, MarketType};

use super::status::FeedStatus;
use crate::config::SymbolSelection;
use crate::limits::{HALT_WATCHED, IMPLAUSIBLE_LISTS, LISTS_WITHOUT, SYMBOLS_NAMED_MAX};
use crate::records::InstrumentMemory;

/// Time without trading, after which the streams of an instrument that only a pattern selects end: longer than weekends and holidays of stocks.
const NOT_TRADING_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Position of a part in its feed; 0 is the part of the start.
pub type PartNumber = u32;

/// Symbol and market type.
pub type InstrumentKey = (String, MarketType);

/// Of a pipeline that has ended: its instruments' recent events, by [`memory_key`].
pub type StreamMemories = BTreeMap<(String, MarketType), InstrumentMemory>;

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

/// By the venue's symbol: another contract under the same symbol goes on with nothing of this one.
pub fn memory_key(instrument: &Instrument) -> (String, MarketType) {
    (instrument.venue_symbol.clone(), instrument.market_type.into())
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
    /// The venue was asked at this time for the newest list that has it.
    listed_ns: i64,
    /// Lists in a row that lack it.
    missed: u32,
    /// `None`: it trades by the newest list that has it.
    idle_since: Option<Instant>,
}

impl CollectedInstrument {
    /// Another contract may be listed under its key, as one that trades in its place.
    fn is(&self, listed: &Instrument) -> bool {
        self.instrument.venue_symbol == listed.venue_symbol
    }
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

/// An instrument with another contract size or value, by which quantities are calculated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResizedInstrument {
    pub key: InstrumentKey,
    /// The venue was asked at this time for the last list with the earlier size.
    pub since_ns: i64,
}

/// By the part that had calculated by the earlier size.
pub type ResizedByPart = BTreeMap<PartNumber, Vec<ResizedInstrument>>;

/// Instruments of a part that starts (again).
#[derive(Debug)]
pub struct BegunPart {
    pub instruments: Vec<Instrument>,
    pub resized: Vec<ResizedInstrument>,
}

/// Consequences of a new listing.
#[derive(Debug, Default)]
pub struct ListingChange {
    /// For a new part: also those with changed terms.
    pub new: Vec<Instrument>,
    /// Instruments with other terms than before, by the part that they leave: its adapter instance and books know the old terms.
    pub changed: KeysByPart,
    /// Those of them with another contract size.
    pub resized: ResizedByPart,
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
        self.take_out(|key, one| part.is_some_and(|part| one.part != part) || !outranked.contains(key))
    }

    /// Takes out what has not traded for long and is not named: a pattern selects what trades, and some venues list a delisted market for ever.
    pub fn end_idle(&self, selection: &SymbolSelection, now: Instant) -> KeysByPart {
        for one in self.lock().values_mut() {
            one.idle_since = if one.instrument.trading { None } else { one.idle_since.or(Some(now)) };
        }
        let is_over = |since: Instant| now.saturating_duration_since(since) >= NOT_TRADING_MAX;
        self.take_out(|(symbol, _), one| {
            selection.names().contains(symbol) || !one.idle_since.is_some_and(is_over)
        })
    }

    /// Instruments that do not trade by the newest list that has them.
    pub fn not_trading(&self) -> BTreeSet<InstrumentKey> {
        let all = self.lock();
        all.iter().filter(|(_, one)| !one.instrument.trading).map(|(key, _)| key.clone()).collect()
    }

    /// An instrument has stopped trading lately: its terms may change before it trades again. False while a list lacks instruments, for they
    /// end by the number of such lists.
    pub fn has_new_halt(&self, now: Instant) -> bool {
        let is_new = |since: Instant| now.saturating_duration_since(since) < HALT_WATCHED;
        let all = self.lock();
        all.values().all(|one| one.missed == 0) && all.values().any(|one| one.idle_since.is_some_and(is_new))
    }

    /// Another contract is collected under its key.
    pub fn is_other_contract(&self, listed: &Instrument) -> bool {
        self.lock().get(&key_of(listed)).is_some_and(|one| !one.is(listed))
    }

    fn take_out(&self, stays: impl Fn(&InstrumentKey, &CollectedInstrument) -> bool) -> KeysByPart {
        let mut out = KeysByPart::new();
        self.lock().retain(|key, one| {
            let stays = stays(key, one);
            if !stays {
                out.entry(one.part).or_default().push(key.clone());
            }
            stays
        });
        out
    }

    /// A part starts (again): its own instruments, also those that the list lacks for the first time. The first part takes all that no other
    /// part has.
    pub fn begin(&self, part: PartNumber, listed: &[Instrument], asked_ns: i64) -> BegunPart {
        let mut all = self.lock();
        let mut change = miss(&mut all, (listed, asked_ns), |of| of == part);
        if part == 0 {
            take_new(&mut all, (listed, asked_ns), &change.delisted, part);
        }
        BegunPart {
            instruments: of_part(&all, part),
            resized: change.resized.remove(&part).unwrap_or_default(),
        }
    }

    /// Takes over a list for which the venue was asked at `asked_ns`.
    pub fn change(&self, listed: &[Instrument], asked_ns: i64, added: PartNumber) -> ListingChange {
        let mut all = self.lock();
        let (changed, resized) = take_changed(&mut all, listed);
        let change = miss(&mut all, (listed, asked_ns), |_| true);
        let new = take_new(&mut all, (listed, asked_ns), &change.delisted, added);
        ListingChange { new, changed, resized, ..change }
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

/// Counts the list for the instruments of these parts, and takes out those that enough lists in a row lack. A list with another contract under
/// the key lacks the instrument.
fn miss(
    all: &mut BTreeMap<InstrumentKey, CollectedInstrument>,
    (listed, asked_ns): (&[Instrument], i64),
    is_read_for: impl Fn(PartNumber) -> bool,
) -> ListingChange {
    let listed: BTreeMap<InstrumentKey, &Instrument> =
        listed.iter().map(|instrument| (key_of(instrument), instrument)).collect();
    let found =
        |key: &InstrumentKey, one: &CollectedInstrument| listed.get(key).filter(|listed| one.is(listed));
    let of_parts = all.iter().filter(|(_, one)| is_read_for(one.part));
    let (known, lacking) = of_parts.fold((0, 0), |(known, lacking), (key, one)| {
        (known + 1, lacking + usize::from(found(key, one).is_none()))
    });
    let mut change = ListingChange { is_implausible: lacking * 2 > known, ..ListingChange::default() };
    let enough = if change.is_implausible { IMPLAUSIBLE_LISTS } else { LISTS_WITHOUT };
    all.retain(|key, one| {
        if !is_read_for(one.part) {
            return true;
        }
        if let Some(instrument) = found(key, one) {
            note_resized(&mut change.resized, one, instrument);
            (one.instrument, one.listed_ns, one.missed) = ((*instrument).clone(), asked_ns, 0);
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

/// Takes the instruments with other terms from their parts, and names those with another size; another contract is not the same instrument with
/// other terms.
fn take_changed(
    all: &mut BTreeMap<InstrumentKey, CollectedInstrument>,
    listed: &[Instrument],
) -> (KeysByPart, ResizedByPart) {
    let (mut changed, mut resized) = (KeysByPart::new(), ResizedByPart::new());
    for instrument in listed {
        let key = key_of(instrument);
        if all.get(&key).is_some_and(|one| one.is(instrument) && !has_same_terms(&one.instrument, instrument))
            && let Some(one) = all.remove(&key)
        {
            note_resized(&mut resized, &one, instrument);
            changed.entry(one.part).or_default().push(key);
        }
    }
    (changed, resized)
}

/// Trading or not, it is read the same way.
fn has_same_terms(one: &Instrument, other: &Instrument) -> bool {
    *one == Instrument { trading: one.trading, ..other.clone() }
}

fn note_resized(resized: &mut ResizedByPart, one: &CollectedInstrument, listed: &Instrument) {
    let size = |of: &Instrument| (of.contract_size, of.contract_value);
    if size(&one.instrument) != size(listed) {
        let instrument = ResizedInstrument { key: key_of(listed), since_ns: one.listed_ns };
        resized.entry(one.part).or_default().push(instrument);
    }
}

/// Gives the listed instruments that have no part to this one. Another contract under the key of one that `ended` by this list begins with the next
/// list, when the end is known everywhere.
fn take_new(
    all: &mut BTreeMap<InstrumentKey, CollectedInstrument>,
    (listed, listed_ns): (&[Instrument], i64),
    ended: &KeysByPart,
    part: PartNumber,
) -> Vec<Instrument> {
    let ended: BTreeSet<&InstrumentKey> = ended.values().flatten().collect();
    let mut new = Vec::new();
    for instrument in listed.iter().filter(|one| !ended.contains(&key_of(one))) {
        if let Entry::Vacant(free) = all.entry(key_of(instrument)) {
            let instrument = instrument.clone();
            new.push(instrument.clone());
            free.insert(CollectedInstrument { part, instrument, listed_ns, missed: 0, idle_since: None });
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
mod tests;
