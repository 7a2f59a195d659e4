//! What a frame's numbers mean for an instrument: scales, and the unit of its amounts.

use crate::numbers::Plain;
use marketprism_adapter_sdk::{Cursor, Decimal, Instrument, MarketType, Scale, Scan, decimal};

/// What one unit of an `amount` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Linear contracts and options: the base coin.
    Base,
    /// Inverse contracts: quote money, so that the base quantity is amount divided by price. `power` is ten to the power
    /// of price scale plus quantity scale, 0 where no 64-bit number holds it.
    Quote {
        /// See above.
        power: u64,
    },
}

/// What is needed of an instrument to read its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contract {
    pub(crate) market: MarketType,
    pub(crate) price: Scale,
    pub(crate) quantity: Scale,
    pub(crate) unit: Unit,
}

impl Contract {
    pub(crate) fn of(instrument: &Instrument) -> Contract {
        let power = decimal::power_of_ten(instrument.price_scale.saturating_add(instrument.quantity_scale));
        let inverse = Unit::Quote { power: power.map_or(0, i64::cast_unsigned) };
        Contract {
            market: instrument.market_type,
            price: Scale::new(instrument.price_scale),
            quantity: Scale::new(instrument.quantity_scale),
            unit: if instrument.contract_value.is_some() { inverse } else { Unit::Base },
        }
    }

    /// The base quantity of an amount at a price: exact where amounts are base coins, else rounded at the quantity scale.
    ///
    /// # Errors
    /// A price of zero, a quantity that vanishes or does not fit.
    pub(crate) fn base_quantity(
        &self,
        cursor: &Cursor<'_>,
        amount: Decimal,
        price: Decimal,
    ) -> Scan<Decimal> {
        if self.unit == Unit::Base {
            return Ok(fit(amount, self.quantity));
        }
        let scale = self.quantity.places();
        match decimal::quotient(amount, price, scale) {
            Ok(mantissa) if mantissa != 0 || amount.mantissa == 0 => Ok(Decimal { mantissa, scale }),
            _ => cursor.fault("an amount that is a base quantity at its price"),
        }
    }
}

/// The same quantity of an inverse contract, in 64-bit steps: `price` is a mantissa at the contract's scale. None where that is not
/// enough, or where the general way has to say what is wrong.
#[inline(always)]
pub(crate) fn quick_base_quantity(amount: Plain, price: i64, power: u64) -> Option<i64> {
    if amount.places != 0 {
        return None;
    }
    let price = u64::try_from(price).ok()?;
    let value = amount.mantissa.checked_mul(power)?;
    let whole = value.checked_div(price)?;
    let twice_rest = (value - whole * price).checked_mul(2)?;
    // Half to even, as `decimal::quotient` rounds.
    let away = twice_rest > price || (twice_rest == price && whole % 2 == 1);
    i64::try_from(whole + u64::from(away)).ok().filter(|quantity| *quantity != 0)
}

/// At this scale where it fits; finer numbers keep their own.
pub(crate) fn fit(number: Decimal, scale: Scale) -> Decimal {
    match decimal::rescale(number, scale.places()) {
        Ok(mantissa) => Decimal { mantissa, scale: scale.places() },
        Err(_) => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the quick division never says anything but what the SDK's exact one says. Method: many amounts and prices at the scales of
    // the venue's contracts, halves included.
    #[test]
    fn quick_divisions_are_those_of_the_sdk() {
        let mut quick = 0;
        let mut state = 88_172_645_463_325_252u64;
        for round in 0..200_000u64 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let price_scale = (state % 6) as u8;
            let scale = decimal::derived_scale(price_scale);
            let power = decimal::power_of_ten(price_scale + scale).map_or(0, i64::cast_unsigned);
            let amount = (state >> 8) % if round % 2 == 0 { 1000 } else { 3_000_000 } * 10;
            let price = ((state >> 32) % if round % 3 == 0 { 64 } else { 2_000_000 }).cast_signed();
            let expected = decimal::quotient(
                Decimal { mantissa: amount.cast_signed(), scale: 0 },
                Decimal { mantissa: price, scale: price_scale },
                scale,
            );
            let came = quick_base_quantity(Plain { mantissa: amount, places: 0 }, price, power);
            if let Some(came) = came {
                quick += 1;
                assert_eq!(Ok(came), expected, "{amount} / {price} e-{price_scale}");
            }
        }
        assert!(quick > 100_000, "{quick}");
        assert_eq!(quick_base_quantity(Plain { mantissa: 1, places: 0 }, 8, 100), Some(12), "half to even");
        assert_eq!(quick_base_quantity(Plain { mantissa: 3, places: 0 }, 8, 100), Some(38), "half to even");
        assert_eq!(quick_base_quantity(Plain { mantissa: 10, places: 0 }, 0, 100), None);
        assert_eq!(quick_base_quantity(Plain { mantissa: 1, places: 0 }, 1000, 1), None, "vanishes");
    }
}
