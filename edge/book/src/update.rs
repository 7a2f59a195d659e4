//! One update of a book as the adapter gave it.

use thiserror::Error;

/// Decimal places of a price or quantity, from the adapter contract.
pub const MAX_SCALE: u8 = 18;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The whole book, as far as its levels go.
    Snapshot,
    /// Levels replace those of the same price; quantity 0 removes the level.
    Delta,
}

/// Levels are interleaved pairs of price mantissa and quantity mantissa at the update's scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookUpdate<'a> {
    pub change: Change,
    /// Venue time, microseconds since 1970 UTC.
    pub time_us: Option<i64>,
    /// Nanoseconds since 1970 UTC.
    pub received_at_ns: i64,
    pub first_id: i64,
    /// Last sequence id; the id of a snapshot.
    pub last_id: i64,
    /// Predecessor under the `Chained` rule.
    pub previous_id: Option<i64>,
    /// The venue's checksum of the book after this update.
    pub checksum: Option<i64>,
    pub price_scale: u8,
    pub quantity_scale: u8,
    pub bids: &'a [i64],
    pub asks: &'a [i64],
}

/// The update is not applied, not even in part, and the book requests a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UpdateError {
    #[error("{side} hold {length} numbers, allowed is an even count")]
    OddLevels { side: &'static str, length: usize },
    #[error("a price of {side} is {price}, allowed is above 0")]
    Price { side: &'static str, price: i64 },
    #[error("quantity {quantity} at price {price} is negative, allowed is 0 or more")]
    NegativeQuantity { price: i64, quantity: i64 },
    #[error("scale is {scale}, allowed are 0 to {MAX_SCALE}")]
    Scale { scale: u8 },
    #[error("number {mantissa} does not fit 64 bits with {places} more decimal places")]
    Overflow { mantissa: i64, places: u8 },
    #[error("first id {first_id} is after last id {last_id}")]
    Range { first_id: i64, last_id: i64 },
}

impl BookUpdate<'_> {
    pub fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }

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
            match pairs.iter().find(|[price, quantity]| *price <= 0 || *quantity < 0) {
                Some(&[price, _]) if price <= 0 => return Err(UpdateError::Price { side, price }),
                Some(&[price, quantity]) => return Err(UpdateError::NegativeQuantity { price, quantity }),
                None => {}
            }
        }
        Ok(())
    }
}
