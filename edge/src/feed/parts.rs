//! The parts of a feed: one has the instruments that its start found, others those that the venue listed later. Each instrument belongs to
//! one part at most, whichever reads the lists first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use marketprism_adapter_host::contract::Instrument;
use marketprism_schema::MarketType;

use super::status::FeedStatus;

/// Position of a part in its feed; 0 is the part of the start.
pub type PartNumber = u32;

/// Symbol and market type.
pub type InstrumentKey = (String, MarketType);

pub fn key_of(instrument: &Instrument) -> InstrumentKey {
    (instrument.symbol.clone(), instrument.market_type.into())
}

/// The part of each instrument that is collected.
#[derive(Debug, Default)]
pub struct InstrumentParts(Mutex<BTreeMap<InstrumentKey, PartNumber>>);

/// Instruments that a listing takes from a part, by part.
pub type DelistedKeys = BTreeMap<PartNumber, Vec<InstrumentKey>>;

impl InstrumentParts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstrumentKey, PartNumber>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn symbols(&self) -> BTreeSet<String> {
        self.lock().keys().map(|(symbol, _)| symbol.clone()).collect()
    }

    /// A part starts (again): the listed instruments that are its own. The first part takes all that no other part has.
    pub fn begin(&self, part: PartNumber, listed: Vec<Instrument>) -> Vec<Instrument> {
        let mut parts = self.lock();
        let before: BTreeSet<InstrumentKey> =
            parts.iter().filter(|(_, of)| **of == part).map(|(key, _)| key.clone()).collect();
        parts.retain(|_, of| *of != part);
        let is_own = |instrument: &Instrument| {
            let key = key_of(instrument);
            let own = if part == 0 { !parts.contains_key(&key) } else { before.contains(&key) };
            if own {
                parts.insert(key, part);
            }
            own
        };
        let mut listed = listed;
        listed.retain(is_own);
        listed
    }

    /// Changes of a new listing: instruments for a new part, and those that are not listed any more.
    pub fn change(&self, listed: &[Instrument], added: PartNumber) -> (Vec<Instrument>, DelistedKeys) {
        let mut parts = self.lock();
        let keys: BTreeSet<InstrumentKey> = listed.iter().map(key_of).collect();
        let mut delisted = DelistedKeys::new();
        parts.retain(|key, part| {
            let stays = keys.contains(key);
            if !stays {
                delisted.entry(*part).or_default().push(key.clone());
            }
            stays
        });
        let mut new = listed.to_vec();
        new.retain(|instrument| {
            let key = key_of(instrument);
            let is_new = !parts.contains_key(&key);
            if is_new {
                parts.insert(key, added);
            }
            is_new
        });
        (new, delisted)
    }

    /// Moves the instruments of a part that ends to another one.
    pub fn merge(&self, from: PartNumber, to: PartNumber) {
        self.lock().values_mut().filter(|part| **part == from).for_each(|part| *part = to);
    }

    /// The instruments of a part among these.
    pub fn of(&self, part: PartNumber, listed: &[Instrument]) -> Vec<Instrument> {
        let parts = self.lock();
        let is_own = |one: &&Instrument| parts.get(&key_of(one)) == Some(&part);
        listed.iter().filter(is_own).cloned().collect()
    }

    /// The keys of these instruments that are not the part's own.
    pub fn lost(&self, part: PartNumber, instruments: &[Instrument]) -> Vec<InstrumentKey> {
        let parts = self.lock();
        instruments.iter().map(key_of).filter(|key| parts.get(key) != Some(&part)).collect()
    }

    pub fn is_empty(&self, part: PartNumber) -> bool {
        self.lock().values().all(|of| *of != part)
    }
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
    use marketprism_adapter_host::contract;

    use super::*;

    fn listed(symbols: &[&str]) -> Vec<Instrument> {
        let instrument = |symbol: &&str| Instrument {
            symbol: (*symbol).to_owned(),
            venue_symbol: (*symbol).to_owned(),
            market_type: contract::MarketType::Spot,
            base: String::new(),
            quote: String::new(),
            contract_size: None,
            contract_value: None,
            price_scale: 0,
            quantity_scale: 0,
            trading: true,
        };
        symbols.iter().map(instrument).collect()
    }

    fn names(instruments: &[Instrument]) -> Vec<&str> {
        instruments.iter().map(|one| one.symbol.as_str()).collect()
    }

    #[test]
    fn each_instrument_belongs_to_one_part_through_listings_delistings_and_restarts() {
        let parts = InstrumentParts::default();
        assert_eq!(names(&parts.begin(0, listed(&["A", "B"]))), ["A", "B"]);
        let (new, delisted) = parts.change(&listed(&["B", "C", "D"]), 1);
        assert_eq!(names(&new), ["C", "D"]);
        assert_eq!(delisted[&0], [("A".to_owned(), MarketType::Spot)]);
        let again = parts.begin(0, listed(&["A", "B", "C", "D"]));
        assert_eq!(names(&again), ["A", "B"], "the first part starts again, C and D have a part");
        assert_eq!(
            names(&parts.begin(1, listed(&["A", "B", "D", "E"]))),
            ["D"],
            "C is gone, E is no part's own"
        );
        let (new, delisted) = parts.change(&listed(&["A", "B", "C"]), 2);
        assert_eq!((names(&new), delisted[&1].len()), (vec!["C"], 1));
        assert!(parts.is_empty(1) && !parts.is_empty(2));
        parts.merge(2, 3);
        assert_eq!(names(&parts.of(3, &listed(&["A", "C"]))), ["C"]);
        assert_eq!(parts.lost(0, &listed(&["A", "C"])), [("C".to_owned(), MarketType::Spot)]);
    }
}
