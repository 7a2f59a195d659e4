//! A look at a LIVE book.

use crate::base::Base;

/// A LIVE book as it stands. It never shows a level that may be outdated: where the venue's book is known
/// less deep than asked, it shows fewer levels and says so.
#[derive(Clone, Copy, Debug)]
pub struct BookView<'a> {
    base: &'a Base,
    epoch: u32,
    depth: usize,
}

impl<'a> BookView<'a> {
    pub(crate) fn new(base: &'a Base, epoch: u32, depth: usize) -> Self {
        BookView { base, epoch, depth }
    }

    /// Id of the last update in it.
    #[must_use]
    pub fn last_update_id(&self) -> i64 {
        self.base.last_id
    }

    /// Rises each time that a LIVE book was thrown away or replaced: between two views of one epoch no update
    /// is missing.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Venue time of the last update in microseconds since 1970 UTC, where the venue gave one.
    #[must_use]
    pub fn time_us(&self) -> Option<i64> {
        self.base.time_us
    }

    /// Receive time of the last update in nanoseconds since 1970 UTC.
    #[must_use]
    pub fn received_at_ns(&self) -> i64 {
        self.base.received_at_ns
    }

    /// Decimal places of the prices.
    #[must_use]
    pub fn price_scale(&self) -> u8 {
        self.base.ladder.price_scale
    }

    /// Decimal places of the quantities.
    #[must_use]
    pub fn quantity_scale(&self) -> u8 {
        self.base.ladder.quantity_scale
    }

    /// The best bids, best first, at most the depth: price and quantity mantissas.
    pub fn bids(&self) -> impl ExactSizeIterator<Item = (i64, i64)> + Clone + 'a {
        self.base.ladder.bids.iter().take(self.depth)
    }

    /// The best asks, best first, at most the depth: price and quantity mantissas.
    pub fn asks(&self) -> impl ExactSizeIterator<Item = (i64, i64)> + Clone + 'a {
        self.base.ladder.asks.iter().take(self.depth)
    }

    /// True when a side has fewer levels here than both the depth and the venue's book.
    #[must_use]
    pub fn is_short(&self) -> bool {
        let ladder = &self.base.ladder;
        [&ladder.bids, &ladder.asks].iter().any(|side| side.is_cut() && side.len() < self.depth)
    }
}
