//! How an instrument's prices are read, and how its amounts become base units.

use marketprism_adapter_sdk::{Decimal, DecimalError, Instrument, Scale, decimal};

/// Decimal places that amounts of inverse contracts are read with at once; finer ones take the general way.
const CONTRACT_PLACES: u8 = 2;

/// The decimal places of a book event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scales {
    pub(crate) price: u8,
    pub(crate) quantity: u8,
}

/// What the venue counts in, and the places of what comes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measure {
    /// Scale that prices are read at.
    pub(crate) price: Scale,
    /// Scale that the venue's amounts are read at.
    pub(crate) amount: Scale,
    /// The instrument's scales of prices and base quantities.
    pub(crate) scales: Scales,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    /// Base units, or contracts of a fixed number of them (1 for spot).
    Size(Decimal),
    /// Contracts of a fixed value in quote units. `factor` times the amount's mantissa, divided by the price's,
    /// is the base quantity's mantissa; none where it does not fit.
    Value { value: Decimal, factor: Option<u64> },
}

impl Measure {
    /// Of an instrument as `instruments` made it.
    pub(crate) fn of(instrument: &Instrument) -> Measure {
        let scales = Scales { price: instrument.price_scale, quantity: instrument.quantity_scale };
        let unit = match instrument.contract_value {
            Some(value) => Unit::Value { value, factor: factor(value, scales) },
            None => Unit::Size(instrument.contract_size.unwrap_or(Decimal { mantissa: 1, scale: 0 })),
        };
        let amount = match unit {
            Unit::Size(size) => scales.quantity.saturating_sub(size.scale),
            Unit::Value { .. } => CONTRACT_PLACES,
        };
        Measure { price: Scale::new(scales.price), amount: Scale::new(amount), scales, unit }
    }

    /// Base units, at the instrument's scale, of an amount at `self.amount` and a price at `self.price`. None
    /// where it needs the exact way.
    #[inline(always)]
    pub(crate) fn quick(&self, price: i64, amount: i64) -> Option<i64> {
        match self.unit {
            Unit::Size(size) => amount.checked_mul(size.mantissa),
            Unit::Value { .. } if amount == 0 => Some(0),
            Unit::Value { factor, .. } => {
                let above = u64::try_from(amount).ok()?.checked_mul(factor?)?;
                let below = u64::try_from(price).ok()?;
                let whole = above.checked_div(below)?;
                let rest = above - whole * below;
                // Half to even, as `decimal::quotient` rounds.
                let up = match rest.cmp(&(below - rest)) {
                    std::cmp::Ordering::Less => 0,
                    std::cmp::Ordering::Equal => whole & 1,
                    std::cmp::Ordering::Greater => 1,
                };
                i64::try_from(whole + up).ok().filter(|quantity| *quantity > 0)
            }
        }
    }

    /// Base units of an amount at a price.
    ///
    /// # Errors
    /// The result does not fit, or is zero where the amount is not.
    pub(crate) fn exact(&self, price: Decimal, amount: Decimal) -> Result<Decimal, DecimalError> {
        match self.unit {
            Unit::Size(size) => decimal::product(amount, size),
            Unit::Value { .. } if amount.mantissa == 0 => Ok(Decimal { mantissa: 0, scale: 0 }),
            Unit::Value { value, .. } => {
                let scale = self.scales.quantity;
                match decimal::quotient(decimal::product(amount, value)?, price, scale)? {
                    0 => Err(DecimalError::TooFine),
                    mantissa => Ok(Decimal { mantissa, scale }),
                }
            }
        }
    }
}

/// `amount / 10^CONTRACT_PLACES * value / (price / 10^price)`, at the quantity's scale.
fn factor(value: Decimal, scales: Scales) -> Option<u64> {
    let places = (scales.quantity + scales.price).checked_sub(CONTRACT_PLACES + value.scale)?;
    let power = u64::try_from(decimal::power_of_ten(places)?).ok()?;
    u64::try_from(value.mantissa).ok()?.checked_mul(power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use marketprism_adapter_sdk::MarketType;

    fn instrument(contract_size: Option<&str>, contract_value: Option<&str>, scales: (u8, u8)) -> Instrument {
        let of = |text: &str| decimal::parse(text.as_bytes()).unwrap();
        Instrument {
            symbol: String::new(),
            venue_symbol: String::new(),
            market_type: MarketType::Perpetual,
            base: String::new(),
            quote: String::new(),
            contract_size: contract_size.map(of),
            contract_value: contract_value.map(of),
            price_scale: scales.0,
            quantity_scale: scales.1,
            trading: true,
        }
    }

    // Goal: the quick way never differs from the exact one. Method: inverse contracts of several sizes and tick
    // places, amounts and prices around rounding limits and around what a word holds.
    #[test]
    fn quick_quotients_are_the_exact_ones() {
        let mut compared = 0;
        for (value, price_scale) in [("100", 1), ("10", 3), ("10", 2), ("1", 9), ("0.5", 4), ("100", 0)] {
            let scale = decimal::derived_scale(price_scale);
            let measure = Measure::of(&instrument(None, Some(value), (price_scale, scale)));
            for price in [1, 2, 3, 7, 64, 1000, 51_345, 302_388, 9_999_999, i64::MAX] {
                for amount in [0, 1, 50, 99, 100, 300, 12_345, 1_000_000, 184_467_440, i64::MAX / 10] {
                    let at = |mantissa, scale| Decimal { mantissa, scale };
                    let exact = measure.exact(at(price, price_scale), at(amount, CONTRACT_PLACES));
                    if let Some(quick) = measure.quick(price, amount) {
                        let quick = at(quick, if amount == 0 { 0 } else { scale });
                        assert_eq!(Ok(quick), exact, "{amount} x {value} / {price}e-{price_scale}");
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 300, "{compared} compared");
    }

    // Goal: contracts of a fixed size are multiplied exactly, and no amount becomes nothing unseen. Method: known
    // products, and quotients too small for their scale.
    #[test]
    fn amounts_become_base_units() {
        let of = |text: &str| decimal::parse(text.as_bytes()).unwrap();
        let linear = Measure::of(&instrument(Some("0.01"), None, (1, 4)));
        assert_eq!(linear.amount.places(), 2);
        assert_eq!(linear.quick(1, 1234), Some(1234));
        assert_eq!(linear.exact(of("1"), of("12.345")), Ok(of("0.12345")));
        let large = Measure::of(&instrument(Some("1000000"), None, (9, 1)));
        assert_eq!(large.quick(1, 15), Some(15_000_000));
        assert_eq!(large.quick(1, i64::MAX / 2), None);
        let spot = Measure::of(&instrument(None, None, (1, 8)));
        assert_eq!(spot.quick(1, 144_679_000), Some(144_679_000));
        let inverse = Measure::of(&instrument(None, Some("1"), (0, 12)));
        assert_eq!(inverse.quick(i64::MAX, 1), None);
        assert_eq!(inverse.exact(of("9000000000000000000"), of("0.01")), Err(DecimalError::TooFine));
        assert_eq!(inverse.exact(of("0"), of("1")), Err(DecimalError::NotANumber));
    }
}
