//! Levels of a book with their sequence position, the checksum over them, and the view of a LIVE book.

use crate::ladder::Ladder;
use crate::sequence::BookPosition;
use crate::settings::{BookSettings, Checksum};
use crate::side::BookSide;
use crate::update::{BookUpdate, UpdateError};

#[derive(Clone, Debug)]
pub(crate) struct BookContents {
    pub(crate) ladder: Ladder,
    pub(crate) first_id: i64,
    pub(crate) previous_id: Option<i64>,
    pub(crate) last_id: i64,
    pub(crate) time_us: Option<i64>,
    pub(crate) checksum: Option<i64>,
    pub(crate) received_at_ns: i64,
}

impl BookContents {
    pub(crate) fn from_snapshot(update: &BookUpdate<'_>, settings: &BookSettings) -> Self {
        BookContents {
            ladder: Ladder::from_snapshot(update, settings),
            first_id: update.first_id,
            previous_id: update.previous_id,
            last_id: update.last_id,
            time_us: update.time_us,
            checksum: update.checksum,
            received_at_ns: update.received_at_ns,
        }
    }

    pub(crate) fn apply(
        &mut self,
        update: &BookUpdate<'_>,
        settings: &BookSettings,
    ) -> Result<(), UpdateError> {
        self.ladder.apply(update, settings)?;
        self.first_id = update.first_id;
        self.previous_id = update.previous_id;
        self.last_id = update.last_id;
        self.time_us = update.time_us;
        self.checksum = update.checksum;
        self.received_at_ns = update.received_at_ns;
        Ok(())
    }

    /// The venue's checksum and the book's, if they differ. `update` was just applied.
    pub(crate) fn checksum_mismatch(
        &self,
        update: &BookUpdate<'_>,
        settings: &BookSettings,
    ) -> Option<(i64, i64)> {
        let (Checksum::Crc32Digits10 { price_scale, quantity_scale }, Some(theirs)) =
            (settings.checksum, update.checksum)
        else {
            return None;
        };
        let ours = i64::from(crc32_digits(&self.ladder, price_scale, quantity_scale));
        (ours != theirs).then_some((theirs, ours))
    }

    pub(crate) fn position(&self) -> BookPosition {
        BookPosition { last_id: self.last_id, time_us: self.time_us }
    }
}

/// Levels per side.
const CHECKSUM_LEVELS: usize = 10;

/// CRC-32 (IEEE) as defined by [`crate::Checksum::Crc32Digits10`].
pub(crate) fn crc32_digits(ladder: &Ladder, price_scale: u8, quantity_scale: u8) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let mut digits = itoa::Buffer::new();
    let mut side = |side: &BookSide| {
        for (price, quantity) in side.iter().take(CHECKSUM_LEVELS) {
            hasher.update(text(&mut digits, price, ladder.price_scale, price_scale));
            hasher.update(text(&mut digits, quantity, ladder.quantity_scale, quantity_scale));
        }
    };
    side(&ladder.asks);
    side(&ladder.bids);
    hasher.finalize()
}

/// Digits of a number at scale `from`, written at scale `to`. A number with more decimal places keeps them:
/// no venue text has them, so the checksums differ.
fn text(digits: &mut itoa::Buffer, mantissa: i64, from: u8, to: u8) -> &[u8] {
    let raised = i128::from(mantissa) * 10_i128.pow(u32::from(to.saturating_sub(from)));
    let divisor = 10_i128.pow(u32::from(from.saturating_sub(to)));
    let number = if raised % divisor == 0 { raised / divisor } else { raised };
    if number == 0 { b"" } else { digits.format(number).as_bytes() }
}

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

    /// First id of that update.
    pub fn first_update_id(&self) -> i64 {
        self.contents.first_id
    }

    /// The update before it, where the venue names it.
    pub fn previous_update_id(&self) -> Option<i64> {
        self.contents.previous_id
    }

    /// Levels of bids and asks that changed since the book was last shown, in order of the changes: price and new quantity, 0 for a level
    /// that was deleted or is not known any more. `None`: the known levels were replaced as a whole, or this is the first view of a LIVE book.
    pub fn changes(&self) -> Option<[&'a [[i64; 2]]; 2]> {
        self.contents.ladder.changes()
    }

    /// All known bids, also beyond the depth.
    pub fn known_bids(&self) -> impl ExactSizeIterator<Item = (i64, i64)> + Clone + 'a {
        self.contents.ladder.bids.iter()
    }

    pub fn known_asks(&self) -> impl ExactSizeIterator<Item = (i64, i64)> + Clone + 'a {
        self.contents.ladder.asks.iter()
    }

    /// The venue may have bids, asks beyond those known.
    pub fn is_partial(&self) -> [bool; 2] {
        [self.contents.ladder.bids.is_partial(), self.contents.ladder.asks.is_partial()]
    }

    /// The venue's checksum at that update, where it gave one.
    pub fn checksum(&self) -> Option<i64> {
        self.contents.checksum
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

    /// The best bid is above the best ask: a moment between two updates, or a broken book.
    pub fn is_crossed(&self) -> bool {
        let best = self.known_bids().next().zip(self.known_asks().next());
        best.is_some_and(|((bid, _), (ask, _))| bid > ask)
    }

    /// A side has fewer levels here than both the depth and the venue's book.
    pub fn is_short(&self) -> bool {
        let ladder = &self.contents.ladder;
        [&ladder.bids, &ladder.asks].iter().any(|side| side.is_partial() && side.len() < self.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_wanted_scale() {
        for (mantissa, from, to, wanted) in [
            (250, 3, 8, "25000000"),
            (1_059_442, 1, 1, "1059442"),
            (2_500, 4, 3, "250"),
            (2_501, 4, 3, "2501"),
            (5, 8, 8, "5"),
            (0, 2, 2, ""),
            (i64::MAX, 0, 18, "9223372036854775807000000000000000000"),
        ] {
            assert_eq!(text(&mut itoa::Buffer::new(), mantissa, from, to), wanted.as_bytes(), "{mantissa}");
        }
    }
}
