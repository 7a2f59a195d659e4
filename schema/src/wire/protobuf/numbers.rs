//! Levels and scales in packed messages.

use std::borrow::Cow;

use crate::SCALE_MAX;
use crate::wire::decode::DecodeError;

/// Each price as the difference to the one before it, the first one to this.
pub(super) fn packed_prices(levels: &[[i64; 2]], mut before: i64) -> Vec<i64> {
    let difference = |[price, _]: &[i64; 2]| price.wrapping_sub(std::mem::replace(&mut before, *price));
    levels.iter().map(difference).collect()
}

pub(super) fn quantities(levels: &[[i64; 2]]) -> Vec<i64> {
    levels.iter().map(|[_, quantity]| *quantity).collect()
}

pub(super) fn packed_side(
    prices: &[i64],
    quantities: &[i64],
    field: &'static str,
    mut price: i64,
) -> Result<Cow<'static, [[i64; 2]]>, DecodeError> {
    if prices.len() != quantities.len() {
        return Err(DecodeError::Field(field, "as many prices as quantities"));
    }
    let level = |(difference, quantity): (&i64, &i64)| {
        price = price.wrapping_add(*difference);
        [price, *quantity]
    };
    Ok(prices.iter().zip(quantities).map(level).collect::<Vec<_>>().into())
}

pub(super) fn scale(places: u32, field: &'static str) -> Result<u8, DecodeError> {
    u8::try_from(places)
        .ok()
        .filter(|places| *places <= SCALE_MAX)
        .ok_or(DecodeError::Field(field, "0 to 18 decimal places"))
}
