//! JSON numbers, exact from their text, and amounts as base units.

use crate::describe::coin_of_index;
use marketprism_adapter_sdk::{
    BookScales, Cursor, Decimal, Instrument, MarketType, ParseResult, PlainNumber, decimal, decimal::fit,
    micros_of_millis, unless_unset,
};
use std::borrow::Cow;

#[inline(always)]
pub(crate) fn number(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Decimal> {
    cursor.peek();
    let mut next = *cursor;
    let negative = next.literal(b"-");
    if let Some(number) = next.plain_number().and_then(|number| number.decimal(negative)) {
        *cursor = next;
        return Ok(number);
    }
    cursor.decimal(what)
}

#[inline(always)]
pub(crate) fn amount(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Decimal> {
    let start = *cursor;
    let number = number(cursor, what)?;
    if number.mantissa < 0 { start.expected(what) } else { Ok(number) }
}

/// A number that the venue calculates (a rate, a total, a mark or index price), or none where it is not set.
pub(crate) fn given(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Option<Decimal>> {
    unless_unset(cursor, what, calculated)
}

/// A number that the venue calculates; digits that no decimal holds are rounded.
pub(crate) fn calculated(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Decimal> {
    let start = *cursor;
    number(cursor, what).or_else(|_| {
        *cursor = start;
        cursor.calculated(what)
    })
}

/// Moves over a value of any kind, as `Cursor::skip` does; the flat objects of numbers that tickers carry faster.
#[inline(always)]
pub(crate) fn pass(cursor: &mut Cursor<'_>) -> ParseResult<()> {
    match cursor.peek() {
        b'0'..=b'9' | b'-' if pass_number(cursor) => Ok(()),
        b'"' if cursor.plain_text().is_some() => Ok(()),
        b'{' => pass_object(cursor),
        _ => cursor.skip(),
    }
}

#[inline(always)]
fn pass_number(cursor: &mut Cursor<'_>) -> bool {
    let mut next = *cursor;
    next.literal(b"-");
    let plain = next.plain_number().is_some();
    if plain {
        *cursor = next;
    }
    plain
}

fn pass_object(cursor: &mut Cursor<'_>) -> ParseResult<()> {
    let start = *cursor;
    let mut first = true;
    cursor.expect(b'{', "an object")?;
    while cursor.more(b'}', &mut first)? {
        cursor.wide_key()?;
        match cursor.peek() {
            b'0'..=b'9' | b'-' if pass_number(cursor) => {}
            b'{' | b'[' => {
                *cursor = start;
                return cursor.skip();
            }
            _ => cursor.skip()?,
        }
    }
    Ok(())
}

#[inline(always)]
pub(crate) fn text<'a>(cursor: &mut Cursor<'a>, what: &'static str) -> ParseResult<Cow<'a, [u8]>> {
    if let Some(text) = cursor.plain_text() {
        return Ok(Cow::Borrowed(text));
    }
    cursor.text(what).map(|text| Cow::Owned(text.into_owned().into_bytes()))
}

/// A time in milliseconds, below the year 5138, as microseconds. Microseconds of our time are beyond it.
#[inline(always)]
pub(crate) fn micros(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<i64> {
    const MICROS_LIMIT: i64 = 100_000_000_000_000_000;
    let start = *cursor;
    match micros_of_millis(cursor.unsigned(what)?) {
        Some(micros) if micros < MICROS_LIMIT => Ok(micros),
        _ => start.expected("a time in milliseconds"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AmountUnit {
    /// Linear contracts and options: the base coin.
    Base,
    /// Inverse contracts: quote currency, so the base quantity is amount divided by price. `power` is ten to the power of price scale plus
    /// quantity scale, 0 where no 64-bit number holds it.
    Quote { power: u64 },
}

/// An instrument's market, scales and amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContractUnits {
    pub(crate) market: MarketType,
    /// A volatility index, which no channel but its own may name.
    pub(crate) is_index: bool,
    pub(crate) scales: BookScales,
    pub(crate) unit: AmountUnit,
}

impl ContractUnits {
    pub(crate) fn of(instrument: &Instrument) -> ContractUnits {
        let power = decimal::power_of_ten(instrument.price_scale.saturating_add(instrument.quantity_scale));
        let inverse = AmountUnit::Quote { power: power.map_or(0, i64::cast_unsigned) };
        ContractUnits {
            market: instrument.market_type,
            is_index: coin_of_index(instrument.venue_symbol.as_bytes()).is_some(),
            scales: BookScales::new(instrument.price_scale, instrument.quantity_scale),
            unit: if instrument.contract_value.is_some() { inverse } else { AmountUnit::Base },
        }
    }

    /// The base quantity of an amount at a price: exact where amounts are base coins, else rounded at the quantity scale.
    pub(crate) fn base_quantity(
        &self,
        cursor: &Cursor<'_>,
        amount: Decimal,
        price: Decimal,
    ) -> ParseResult<Decimal> {
        let scale = self.scales.quantity.places();
        if self.unit == AmountUnit::Base {
            return Ok(fit(amount, scale));
        }
        match decimal::quotient(amount, price, scale) {
            Ok(mantissa) if mantissa != 0 || amount.mantissa == 0 => Ok(Decimal { mantissa, scale }),
            _ => cursor.expected("an amount that is a base quantity at its price"),
        }
    }
}

/// As [`ContractUnits::base_quantity`] for an inverse contract, in 64-bit steps: `price` is a mantissa at the contract's scale. None where that is not
/// enough, or where the general way has to say what is wrong.
#[inline(always)]
pub(crate) fn quick_base_quantity(amount: PlainNumber, price: i64, power: u64) -> Option<i64> {
    if amount.places != 0 {
        return None;
    }
    let price = u64::try_from(price).ok()?;
    let value = decimal::times(amount.mantissa, power)?;
    let whole = value.checked_div(price)?;
    let rest = value - whole * price;
    // Half to even, as `decimal::quotient` rounds.
    let away = rest > price - rest || (rest == price - rest && whole % 2 == 1);
    i64::try_from(whole + u64::from(away)).ok().filter(|quantity| *quantity != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, usize)> {
        let mut cursor = Cursor::new(text.as_bytes());
        let number = number(&mut cursor, "a number").ok()?;
        Some((decimal::to_text(number), cursor.at()))
    }

    #[test]
    fn json_numbers_are_exact_or_refused() {
        let numbers = "0 0.0 -0.0 10.0 0.0005 0.00001742 -0.00001742 1e-5 1.742E-05 1e+3 1132329370.0 12345678901.12345 42500.50 \
            9223372036854775807 0.000000000000000001";
        for text in numbers.split_whitespace() {
            let expected = decimal::to_text(decimal::parse(text.as_bytes()).unwrap());
            for after in ["", ",", "]", "}         ", " "] {
                let read = read(&format!("{text}{after}"));
                assert_eq!(read, Some((expected.clone(), text.len())), "{text}");
            }
        }
        let plain = "- +1 .5 5. 1.e5 01 -01 00.1 1e 1e+ null 9223372036854775808 0.0000000000000000001 x";
        for wrong in plain.split(' ').chain(["", "- 1", "1. 5", "\"\"", "\"x\""]) {
            for after in ["", ",          "] {
                // Text after a number is refused by the caller.
                let read = read(&format!("{wrong}{after}"));
                assert!(read.is_none_or(|(_, at)| at < wrong.len()), "{wrong}");
            }
        }
    }

    #[test]
    fn passing_a_value_agrees_with_the_sdk() {
        let texts = r#"1|-1.5e3,|"a\"b",|"abc",1|null,|true}|{}|{"volume":null,"low":-0.5,"high":1e-5} |{"a":[1,2],"b":{"c":1}},|[1,{"a":2}]|{"a":01}|{"a" 1}|{a:1}|{"a":1,}|{"a":tru}|-|"#;
        for text in texts.split('|') {
            let (mut one, mut other) = (Cursor::new(text.as_bytes()), Cursor::new(text.as_bytes()));
            let (passed, skipped) = (pass(&mut one), other.skip());
            assert_eq!(passed.is_ok(), skipped.is_ok(), "{text}");
            assert!(passed.is_err() || one.at() == other.at(), "{text}");
        }
    }

    #[test]
    fn times_are_milliseconds() {
        let read = |text: &str| micros(&mut Cursor::new(text.as_bytes()), "a time").ok();
        assert_eq!(read("1626993723632"), Some(1_626_993_723_632_000));
        for wrong in ["1626993723632000", "-1", "1.5e3x", "99999999999999999999", ""] {
            assert!(read(wrong).is_none() || wrong.starts_with("1.5"), "{wrong}");
        }
    }

    #[test]
    fn the_quick_division_agrees_with_the_exact_one() {
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
            let came = quick_base_quantity(PlainNumber { mantissa: amount, places: 0 }, price, power);
            if let Some(came) = came {
                quick += 1;
                assert_eq!(Ok(came), expected, "{amount} / {price} e-{price_scale}");
            }
        }
        assert!(quick > 100_000, "{quick}");
        let quick =
            |mantissa, price, power| quick_base_quantity(PlainNumber { mantissa, places: 0 }, price, power);
        assert_eq!([quick(1, 8, 100), quick(3, 8, 100)], [Some(12), Some(38)], "half to even");
        assert_eq!(quick(10, 0, 100), None);
        assert_eq!(quick(1, 1000, 1), None, "vanishes");
    }
}
