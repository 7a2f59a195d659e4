//! One update of a book as the adapter gave it.

use thiserror::Error;

/// Largest number of decimal places of a price or quantity: the adapter contract's.
pub const MAX_SCALE: u8 = 18;

/// Whether an update replaces the book or changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The levels are the whole book, as far as it goes.
    Snapshot,
    /// The levels replace those of the same price; quantity 0 removes the level.
    Delta,
}

/// One update. Levels are pairs of price mantissa and quantity mantissa, at the update's scales.
#[derive(Clone, Copy, Debug)]
pub struct BookUpdate<'a> {
    /// Snapshot or delta.
    pub change: Change,
    /// Venue time in microseconds since 1970 UTC, where the venue gives one.
    pub time_us: Option<i64>,
    /// Receive time in nanoseconds since 1970 UTC.
    pub received_at_ns: i64,
    /// First sequence id.
    pub first_id: i64,
    /// Last sequence id; the id of a snapshot.
    pub last_id: i64,
    /// Id of the predecessor, where the rule is `Chained`.
    pub previous_id: Option<i64>,
    /// The venue's checksum of the book after this update, verified as [`crate::Checksum`] says.
    pub checksum: Option<i64>,
    /// Decimal places of the prices, at most [`MAX_SCALE`].
    pub price_scale: u8,
    /// Decimal places of the quantities, at most [`MAX_SCALE`].
    pub quantity_scale: u8,
    /// Bid levels, interleaved.
    pub bids: &'a [i64],
    /// Ask levels, interleaved.
    pub asks: &'a [i64],
}

/// Why an update cannot be applied. The book asks for a new starting state then: nothing is applied in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UpdateError {
    /// Half a level.
    #[error("{side} hold {length} numbers, allowed is an even count")]
    OddLevels {
        /// `bids` or `asks`.
        side: &'static str,
        /// Numbers in the list.
        length: usize,
    },
    /// A quantity below zero.
    #[error("quantity {quantity} at price {price} is negative, allowed is 0 or more")]
    NegativeQuantity {
        /// Price mantissa.
        price: i64,
        /// Quantity mantissa.
        quantity: i64,
    },
    /// More decimal places than the contract allows.
    #[error("scale is {scale}, allowed are 0 to {MAX_SCALE}")]
    Scale {
        /// The offending scale.
        scale: u8,
    },
    /// Brought to the book's scale, a number does not fit 64 bits.
    #[error("number {mantissa} does not fit 64 bits with {places} more decimal places")]
    Overflow {
        /// The mantissa before rescaling.
        mantissa: i64,
        /// Decimal places to add.
        places: u8,
    },
    /// First id after last id under a rule that needs a range.
    #[error("first id {first_id} is after last id {last_id}")]
    Range {
        /// First id.
        first_id: i64,
        /// Last id.
        last_id: i64,
    },
}

impl BookUpdate<'_> {
    /// True without any level.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }

    /// Checks what does not depend on the book.
    pub(crate) fn check(&self) -> Result<(), UpdateError> {
        for scale in [self.price_scale, self.quantity_scale] {
            if scale > MAX_SCALE {
                return Err(UpdateError::Scale { scale });
            }
        }
        for (side, levels) in [("bids", self.bids), ("asks", self.asks)] {
            let (pairs, rest) = levels.as_chunks::<2>();
            if !rest.is_empty() {
                return Err(UpdateError::OddLevels { side, length: levels.len() });
            }
            if let Some([price, quantity]) = pairs.iter().find(|[_, quantity]| *quantity < 0) {
                return Err(UpdateError::NegativeQuantity { price: *price, quantity: *quantity });
            }
        }
        Ok(())
    }
}
