//! Both sides of a book on one price scale and one quantity scale.
//! A requested snapshot may end before the book does, and changes beyond its end are only partly known.
//! Levels beyond its deepest price, or beyond the deepest level kept after pruning, are not stored and
//! never shown.

use crate::settings::{BookSettings, SnapshotSource};
use crate::side::BookSide;
use crate::update::{BookUpdate, UpdateError};

#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    pub(crate) bids: BookSide,
    pub(crate) asks: BookSide,
    pub(crate) price_scale: u8,
    pub(crate) quantity_scale: u8,
    /// A partial side with fewer levels than this is thin.
    min_bids: usize,
    min_asks: usize,
}

impl Ladder {
    pub(crate) fn from_snapshot(update: &BookUpdate<'_>, settings: &BookSettings) -> Self {
        let mut ladder = Ladder {
            bids: BookSide::new(false),
            asks: BookSide::new(true),
            price_scale: update.price_scale,
            quantity_scale: update.quantity_scale,
            min_bids: settings.depth,
            min_asks: settings.depth,
        };
        let cut_from = match settings.snapshot {
            SnapshotSource::Request if settings.depth_limit.is_none() => Some(settings.depth.max(1)),
            SnapshotSource::Request | SnapshotSource::InBand => None,
        };
        ladder.bids.replace(update.bids, cut_from);
        ladder.asks.replace(update.asks, cut_from);
        ladder.prune(settings);
        // Half of the reserve may go before a deeper snapshot is requested; without a reserve a quarter of the depth, or each lost level
        // would request another one.
        let spare = |side: &BookSide| (side.len().saturating_sub(settings.depth) / 2).max(settings.depth / 4);
        let low = |side: &BookSide| side.len().saturating_sub(spare(side));
        (ladder.min_bids, ladder.min_asks) = (low(&ladder.bids), low(&ladder.asks));
        ladder
    }

    /// Applies a delta completely or not at all.
    pub(crate) fn apply(
        &mut self,
        update: &BookUpdate<'_>,
        settings: &BookSettings,
    ) -> Result<(), UpdateError> {
        let price_factor = Self::factor(self.price_scale, update.price_scale);
        let quantity_factor = Self::factor(self.quantity_scale, update.quantity_scale);
        if price_factor != 1 || quantity_factor != 1 {
            check_fit(update, price_factor, quantity_factor)?;
        }
        if update.price_scale > self.price_scale || update.quantity_scale > self.quantity_scale {
            self.grow(update.price_scale, update.quantity_scale)?;
        }
        for (side, levels) in [(&mut self.bids, update.bids), (&mut self.asks, update.asks)] {
            for [price, quantity] in levels.as_chunks::<2>().0 {
                // Cannot wrap: checked above whenever a factor is not 1.
                side.set(price.wrapping_mul(price_factor), quantity.wrapping_mul(quantity_factor));
            }
        }
        self.prune(settings);
        Ok(())
    }

    /// Factor from scale `theirs` to this book's scale (after it grew).
    fn factor(ours: u8, theirs: u8) -> i64 {
        10_i64.pow(u32::from(ours.saturating_sub(theirs)))
    }

    fn grow(&mut self, price_scale: u8, quantity_scale: u8) -> Result<(), UpdateError> {
        let price_places = price_scale.saturating_sub(self.price_scale);
        let quantity_places = quantity_scale.saturating_sub(self.quantity_scale);
        let (by_price, by_quantity) = (10_i64.pow(price_places.into()), 10_i64.pow(quantity_places.into()));
        let grown = self.bids.scaled(by_price, by_quantity).zip(self.asks.scaled(by_price, by_quantity));
        let Some((bids, asks)) = grown else {
            let mantissa = self.bids.best_price().or(self.asks.best_price()).unwrap_or_default();
            return Err(UpdateError::Overflow { mantissa, places: price_places.max(quantity_places) });
        };
        (self.bids, self.asks) = (bids, asks);
        self.price_scale += price_places;
        self.quantity_scale += quantity_places;
        Ok(())
    }

    /// Changes of both sides since [`Ladder::mark_shown`]; `None` if these levels were not shown yet.
    pub(crate) fn changes(&self) -> Option<[&[[i64; 2]]; 2]> {
        Some([self.bids.changes()?, self.asks.changes()?])
    }

    /// The next view shows all levels as new.
    pub(crate) fn mark_new(&mut self) {
        self.bids.mark_new();
        self.asks.mark_new();
    }

    pub(crate) fn mark_shown(&mut self) {
        self.bids.mark_shown();
        self.asks.mark_shown();
    }

    fn prune(&mut self, settings: &BookSettings) {
        for side in [&mut self.bids, &mut self.asks] {
            if let Some(most) = settings.depth_limit {
                side.truncate(most);
            }
            side.prune(settings.levels_kept());
        }
    }

    /// A partial side has lost what it can spare.
    pub(crate) fn is_thin(&self) -> bool {
        (self.bids.is_partial() && self.bids.len() < self.min_bids)
            || (self.asks.is_partial() && self.asks.len() < self.min_asks)
    }

    /// The best price of a partial side is unknown.
    pub(crate) fn is_exhausted(&self) -> bool {
        [&self.bids, &self.asks].iter().any(|side| side.is_partial() && side.len() == 0)
    }

    pub(crate) fn is_crossed(&self) -> bool {
        match (self.bids.best_price(), self.asks.best_price()) {
            (Some(bid), Some(ask)) => bid >= ask,
            _ => false,
        }
    }

    /// The best `depth` levels that both know are equal.
    pub(crate) fn agrees_with(&self, other: &Ladder, depth: usize) -> bool {
        let widen = |mantissa: i64, scale: u8| {
            i128::from(mantissa) * 10_i128.pow(u32::from(18_u8.saturating_sub(scale)))
        };
        let same = |ours: &BookSide, theirs: &BookSide| {
            ours.iter().zip(theirs.iter()).take(depth).all(|(a, b)| {
                widen(a.0, self.price_scale) == widen(b.0, other.price_scale)
                    && widen(a.1, self.quantity_scale) == widen(b.1, other.quantity_scale)
            })
        };
        same(&self.bids, &other.bids) && same(&self.asks, &other.asks)
    }
}

fn check_fit(update: &BookUpdate<'_>, price_factor: i64, quantity_factor: i64) -> Result<(), UpdateError> {
    for [price, quantity] in update.bids.as_chunks::<2>().0.iter().chain(update.asks.as_chunks::<2>().0) {
        for (mantissa, factor) in [(*price, price_factor), (*quantity, quantity_factor)] {
            if mantissa.checked_mul(factor).is_none() {
                let places = u8::try_from(factor.ilog10()).unwrap_or(u8::MAX);
                return Err(UpdateError::Overflow { mantissa, places });
            }
        }
    }
    Ok(())
}
