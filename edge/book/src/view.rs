//! Read access to a LIVE book.

use crate::contents::BookContents;

/// Never shows a level that may be outdated: where less than the depth is known, it has fewer levels and
/// [`BookView::is_short`] is true.
#[derive(Clone, Copy, Debug)]
pub struct BookView<'a> {
    contents: &'a BookContents,
    epoch: u32,
    depth: usize,
}

impl<'a> BookView<'a> {
    pub(crate) fn new(contents: &'a BookContents, epoch: u32, depth: usize) -> Self {
        BookView { contents, epoch, depth }
    }

    pub fn last_update_id(&self) -> i64 {
        self.contents.last_id
    }

    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    pub fn time_us(&self) -> Option<i64> {
        self.contents.time_us
    }

    pub fn received_at_ns(&self) -> i64 {
        self.contents.received_at_ns
    }

    pub fn price_scale(&self) -> u8 {
        self.contents.ladder.price_scale
    }

    pub fn quantity_scale(&self) -> u8 {
        self.contents.ladder.quantity_scale
    }

    /// Price and quantity mantissas, best first, at most the depth.
    pub fn bids(&self) -> impl ExactSizeIterator<Item = (i64, i64)> + Clone + 'a {
        self.contents.ladder.bids.iter().take(self.depth)
    }

    pub fn asks(&self) -> impl ExactSizeIterator<Item = (i64, i64)> + Clone + 'a {
        self.contents.ladder.asks.iter().take(self.depth)
    }

    /// A side has fewer levels here than both the depth and the venue's book.
    pub fn is_short(&self) -> bool {
        let ladder = &self.contents.ladder;
        [&ladder.bids, &ladder.asks].iter().any(|side| side.is_partial() && side.len() < self.depth)
    }
}
