//! The `open-interest` channel.

use super::topic::Topic;
use crate::numbers::micros;
use marketprism_adapter_sdk::{
    Cursor, Decimal, DecimalError, Ignored, OpenInterest, Output, ParseResult, Payload, decimal, each_member,
    once, unset,
};

/// Digits that every 64-bit mantissa holds.
const DIGITS: usize = 18;

/// Reads the open interest of the topic's instrument: contracts, coins and dollars, each where given.
pub(super) fn open_interest(
    output: &mut Output,
    cursor: &mut Cursor<'_>,
    topic: &Topic<'_>,
) -> ParseResult<()> {
    let (mut contracts, mut base, mut value_usd, mut time) = (None, None, None, None);
    each_member(cursor, "an open interest", |cursor, key| match key {
        "oi" => once(&mut contracts, total(cursor, "`oi`")?, cursor),
        "oiCcy" => once(&mut base, total(cursor, "`oiCcy`")?, cursor),
        "oiUsd" => once(&mut value_usd, total(cursor, "`oiUsd`")?, cursor),
        "ts" => once(&mut time, micros(cursor, "`ts`")?, cursor),
        "instId" => topic.same_instrument(cursor),
        _ => cursor.skip(),
    })?;
    let Some(time) = time else { return cursor.expected("`ts`") };
    let (contracts, base, value_usd) = (contracts.flatten(), base.flatten(), value_usd.flatten());
    match time {
        Some(time_us) if contracts.is_some() || base.is_some() || value_usd.is_some() => {
            let instrument = topic.instrument;
            let interest = OpenInterest { instrument, time_us, base, contracts, value_usd };
            output.event(Payload::OpenInterest(interest));
        }
        _ => output.ignored(Ignored::Empty),
    }
    Ok(())
}

/// A total of at least zero. The venue sums in binary floating point and writes up to 24 digits; what a mantissa
/// does not hold is rounded to 18 digits, half to even.
fn total(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Option<Decimal>> {
    if unset(cursor) {
        return Ok(None);
    }
    let start = *cursor;
    let read = match cursor.plain_text() {
        Some(text) => match decimal::parse(text) {
            Err(DecimalError::Overflow | DecimalError::TooFine) => shortened(text),
            number => number.ok(),
        },
        None => Some(cursor.decimal(what)?),
    };
    match read.filter(|number| number.mantissa >= 0) {
        Some(number) => Ok(Some(number)),
        None => start.expected(what),
    }
}

/// The nearest number of 18 digits to a longer one in plain notation.
fn shortened(text: &[u8]) -> Option<Decimal> {
    let point = text.iter().position(|byte| *byte == b'.')?;
    let (whole, fraction) = (text.get(..point)?, text.get(point + 1..)?);
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let zeros = whole.iter().take_while(|digit| **digit == b'0').count();
    let places = DIGITS.checked_sub(whole.len() - zeros)?.min(fraction.len());
    let (kept, cut) = fraction.split_at_checked(places)?;
    let scale = u8::try_from(places).ok()?;
    let mantissa = [whole, kept]
        .concat()
        .iter()
        .try_fold(0i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')))?;
    let (next, rest) = cut.split_first()?;
    let beyond_half = *next > b'5' || (*next == b'5' && rest.iter().any(|digit| *digit != b'0'));
    let up = beyond_half || (*next == b'5' && mantissa % 2 == 1);
    Some(Decimal { mantissa: mantissa + i64::from(up), scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_keep_every_digit_that_a_mantissa_holds_rounded_half_to_even() {
        let read = |text: &str| {
            let text = format!("\"{text}\"");
            total(&mut Cursor::new(text.as_bytes()), "a total").map(|total| total.map(decimal::to_text))
        };
        let is = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(read("88957542893.771927925084"), is("88957542893.7719279"));
        assert_eq!(read("963996.95809999716"), is("963996.95809999716"));
        assert_eq!(read("1.00000000000000000050"), is("1"));
        assert_eq!(read("99.00000000000000015"), is("99.0000000000000002"));
        assert_eq!(read("99.00000000000000025"), is("99.0000000000000002"));
        assert_eq!(read("99999999999.99999999999"), is("100000000000"));
        assert_eq!(read("0.0000000000000000005"), is("0"));
        assert_eq!(read("0.0000000000000000015"), is("0.000000000000000002"));
        assert_eq!(read(""), Ok(None));
        for wrong in ["-1", "x", "1e-30", "99999999999999999999.5", "1.00000000000000000000x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
