//! Prices and contracts of an instrument as exact base units, and the venue's way to write numbers: strings, empty where unset.

use marketprism_adapter_sdk::{
    BookScales, Cursor, Decimal, DecimalError, Instrument, ParseResult, Scale, amount, calculated_amount,
    decimal, micros_of_millis, unless_unset, unset,
};

/// Decimal places that amounts of inverse contracts are read with at once; finer ones take the general way.
const CONTRACT_PLACES: u8 = 2;

/// The unit of the venue's amounts, and the scales of what comes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ContractUnits {
    /// Scale that the venue's amounts are read at.
    pub(crate) amount: Scale,
    /// The instrument's scales of prices and base quantities.
    pub(crate) scales: BookScales,
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

impl ContractUnits {
    pub(crate) fn of(instrument: &Instrument) -> ContractUnits {
        let scales = BookScales::new(instrument.price_scale, instrument.quantity_scale);
        let unit = match instrument.contract_value {
            Some(value) => Unit::Value { value, factor: factor(value, scales) },
            None => Unit::Size(instrument.contract_size.unwrap_or(Decimal { mantissa: 1, scale: 0 })),
        };
        let amount = match unit {
            Unit::Size(size) => scales.quantity.places().saturating_sub(size.scale),
            Unit::Value { .. } => CONTRACT_PLACES,
        };
        ContractUnits { amount: Scale::new(amount), scales, unit }
    }

    /// Base units, at the instrument's scale, of an amount at `self.amount` and a price at the instrument's. None
    /// where it needs the exact way.
    #[inline(always)]
    pub(crate) fn quick(&self, price: i64, amount: i64) -> Option<i64> {
        match self.unit {
            Unit::Size(size) => decimal::signed_times(amount, size.mantissa),
            Unit::Value { .. } if amount == 0 => Some(0),
            Unit::Value { factor, .. } => {
                let above = decimal::times(u64::try_from(amount).ok()?, factor?)?;
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
    pub(crate) fn exact(&self, price: Decimal, amount: Decimal) -> Result<Decimal, DecimalError> {
        match self.unit {
            Unit::Size(size) => decimal::product(amount, size),
            Unit::Value { .. } if amount.mantissa == 0 => Ok(Decimal { mantissa: 0, scale: 0 }),
            Unit::Value { value, .. } => {
                let scale = self.scales.quantity.places();
                match decimal::quotient(decimal::product(amount, value)?, price, scale)? {
                    0 => Err(DecimalError::TooFine),
                    mantissa => Ok(Decimal { mantissa, scale }),
                }
            }
        }
    }
}

/// `amount / 10^CONTRACT_PLACES * value / (price / 10^price)`, at the quantity's scale.
fn factor(value: Decimal, scales: BookScales) -> Option<u64> {
    let places =
        (scales.quantity.places() + scales.price.places()).checked_sub(CONTRACT_PLACES + value.scale)?;
    let power = u64::try_from(decimal::power_of_ten(places)?).ok()?;
    u64::try_from(value.mantissa).ok()?.checked_mul(power)
}

/// A time in milliseconds as microseconds; none where the venue wrote nothing or zero, as it does on odd frames.
#[inline(always)]
pub(crate) fn micros(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Option<i64>> {
    let start = *cursor;
    let millis = match cursor.quoted_unsigned() {
        Some(millis) => millis,
        None if unset(cursor) => return Ok(None),
        None => cursor.unsigned(what)?,
    };
    match micros_of_millis(millis) {
        Some(0) => Ok(None),
        Some(micros) => Ok(Some(micros)),
        None => start.expected("a time in milliseconds"),
    }
}

/// An amount of at least 0; none where it is not set.
pub(crate) fn optional_amount(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Option<Decimal>> {
    unless_unset(cursor, what, amount)
}

/// A total or ratio of at least 0, which the venue calculates; none where it is not set.
pub(crate) fn optional_total(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Option<Decimal>> {
    unless_unset(cursor, what, calculated_amount)
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
            tick_size: None,
            step_size: None,
            trading: true,
        }
    }

    #[test]
    fn the_quick_quotient_never_differs_from_the_exact_one() {
        let mut compared = 0;
        for (value, price_scale) in [("100", 1), ("10", 3), ("10", 2), ("1", 9), ("0.5", 4), ("100", 0)] {
            let scale = decimal::derived_scale(price_scale);
            let units = ContractUnits::of(&instrument(None, Some(value), (price_scale, scale)));
            for price in [1, 2, 3, 7, 64, 1000, 51_345, 302_388, 9_999_999, i64::MAX] {
                for amount in [0, 1, 50, 99, 100, 300, 12_345, 1_000_000, 184_467_440, i64::MAX / 10] {
                    let at = |mantissa, scale| Decimal { mantissa, scale };
                    let exact = units.exact(at(price, price_scale), at(amount, CONTRACT_PLACES));
                    if let Some(quick) = units.quick(price, amount) {
                        let quick = at(quick, if amount == 0 { 0 } else { scale });
                        assert_eq!(Ok(quick), exact, "{amount} x {value} / {price}e-{price_scale}");
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 300, "{compared} compared");
    }

    #[test]
    fn amounts_become_base_units_exactly_or_are_refused() {
        let of = |text: &str| decimal::parse(text.as_bytes()).unwrap();
        let linear = ContractUnits::of(&instrument(Some("0.01"), None, (1, 4)));
        assert_eq!(linear.amount.places(), 2);
        assert_eq!(linear.quick(1, 1234), Some(1234));
        assert_eq!(linear.exact(of("1"), of("12.345")), Ok(of("0.12345")));
        let large = ContractUnits::of(&instrument(Some("1000000"), None, (9, 1)));
        assert_eq!(large.quick(1, 15), Some(15_000_000));
        assert_eq!(large.quick(1, i64::MAX / 2), None);
        let spot = ContractUnits::of(&instrument(None, None, (1, 8)));
        assert_eq!(spot.quick(1, 144_679_000), Some(144_679_000));
        let inverse = ContractUnits::of(&instrument(None, Some("1"), (0, 12)));
        assert_eq!(inverse.quick(i64::MAX, 1), None);
        assert_eq!(inverse.exact(of("9000000000000000000"), of("0.01")), Err(DecimalError::TooFine));
        assert_eq!(inverse.exact(of("0"), of("1")), Err(DecimalError::NotANumber));
    }
}
