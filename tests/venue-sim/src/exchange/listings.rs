//! Instruments that an exchange lists and delists while it runs, or gives other terms. A delisted one is in no answer, gets no events, and no new
//! subscriber.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use super::state::Exchange;
use crate::decimal::Decimal;
use crate::market::{Instrument, Sizing};
use crate::venue::ListedInstrument;

/// By position of the instrument in its exchange.
#[derive(Debug)]
pub(crate) struct Listings(Vec<ListingState>);

#[derive(Debug)]
struct ListingState {
    is_delisted: AtomicBool,
    /// Tick of the list, in ticks of the market.
    ticks: AtomicI64,
    /// Contract size of the list, in sizes of the market.
    sizes: AtomicI64,
    turnover: AtomicU64,
}

/// Turnover of the first instrument; each further one has one unit less.
const TURNOVER: u64 = 1_000_000;

impl Listings {
    pub(crate) fn all(instruments: usize) -> Listings {
        let listing = |index: usize| ListingState {
            is_delisted: AtomicBool::new(false),
            ticks: AtomicI64::new(1),
            sizes: AtomicI64::new(1),
            turnover: AtomicU64::new(TURNOVER.saturating_sub(index as u64)),
        };
        Listings((0..instruments).map(listing).collect())
    }

    pub(crate) fn has(&self, index: usize) -> bool {
        self.0.get(index).is_none_or(|listing| !listing.is_delisted.load(Ordering::Acquire))
    }

    pub(crate) fn turnover(&self, index: usize) -> u64 {
        self.0.get(index).map_or(0, |listing| listing.turnover.load(Ordering::Acquire))
    }

    fn ticks(&self, index: usize) -> i64 {
        self.0.get(index).map_or(1, |listing| listing.ticks.load(Ordering::Acquire))
    }

    fn sizing(&self, index: usize, market: Sizing) -> Sizing {
        let sizes = self.0.get(index).map_or(1, |listing| listing.sizes.load(Ordering::Acquire));
        let times = |size: Decimal| Decimal { units: size.units * sizes, ..size };
        match market {
            Sizing::Base => Sizing::Base,
            Sizing::Contracts(size) => Sizing::Contracts(times(size)),
            Sizing::Value(value) => Sizing::Value(times(value)),
        }
    }
}

/// The oldest trade that REST still gives by its id, by position of the instrument.
#[derive(Debug)]
pub(crate) struct HistoryHorizon(Vec<AtomicU64>);

impl HistoryHorizon {
    pub(crate) fn none(instruments: usize) -> HistoryHorizon {
        HistoryHorizon((0..instruments).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn first_id(&self, index: usize) -> u64 {
        self.0.get(index).map_or(0, |first| first.load(Ordering::Acquire))
    }

    pub(crate) fn set(&self, index: usize, first_id: u64) {
        if let Some(first) = self.0.get(index) {
            first.store(first_id, Ordering::Release);
        }
    }
}

impl Exchange {
    pub(crate) fn set_listed(&self, index: usize, listed: bool) {
        if let Some(listing) = self.listings.0.get(index) {
            listing.is_delisted.store(!listed, Ordering::Release);
        }
    }

    pub(crate) fn set_listed_ticks(&self, index: usize, ticks: i64) {
        if let Some(listing) = self.listings.0.get(index) {
            listing.ticks.store(ticks, Ordering::Release);
        }
    }

    pub(crate) fn set_listed_size(&self, index: usize, sizes: i64) {
        if let Some(listing) = self.listings.0.get(index) {
            listing.sizes.store(sizes, Ordering::Release);
        }
    }

    pub(crate) fn set_turnover(&self, index: usize, turnover: u64) {
        if let Some(listing) = self.listings.0.get(index) {
            listing.turnover.store(turnover, Ordering::Release);
        }
    }

    /// The instruments that are listed now, with the terms of now.
    pub(crate) fn listed_now(&self) -> Cow<'_, [ListedInstrument]> {
        let is_as_ever = |one: &ListedInstrument| {
            let Instrument { listed_ticks, sizing, .. } = &one.instrument;
            self.listings.has(one.index)
                && self.listings.ticks(one.index) == *listed_ticks
                && self.listings.sizing(one.index, *sizing) == *sizing
        };
        if self.listed.iter().all(is_as_ever) {
            return Cow::Borrowed(&self.listed);
        }
        let listed = self.listed.iter().filter(|one| self.listings.has(one.index));
        let with_terms = |one: &ListedInstrument| {
            let listed_ticks = self.listings.ticks(one.index);
            let sizing = self.listings.sizing(one.index, one.instrument.sizing);
            ListedInstrument {
                instrument: Instrument { listed_ticks, sizing, ..one.instrument.clone() },
                ..one.clone()
            }
        };
        Cow::Owned(listed.map(with_terms).collect())
    }
}
