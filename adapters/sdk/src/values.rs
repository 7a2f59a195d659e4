//! Values that many venues write alike.

use crate::cursor::{Cursor, ParseResult};
use crate::decimal::{self, Scale};
use crate::types::{Decimal, Side};

/// Sets a field that may come only once in a message.
#[inline(always)]
pub fn once<T>(field: &mut Option<T>, value: T, cursor: &Cursor<'_>) -> ParseResult<()> {
    if field.replace(value).is_some() { cursor.expected("each field once") } else { Ok(()) }
}

/// A price or quantity: exact, quoted or not, never below zero.
pub fn amount(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Decimal> {
    let start = *cursor;
    let number = cursor.decimal(what)?;
    if number.mantissa < 0 { start.expected(what) } else { Ok(number) }
}

/// A value of at least 0 that the venue calculated: an open interest, a ratio, a mark price; see [`decimal::parse_rounded`].
pub fn calculated_amount(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Decimal> {
    let start = *cursor;
    let number = cursor.calculated(what)?;
    if number.mantissa < 0 { start.expected(what) } else { Ok(number) }
}

/// As [`amount`], as the mantissa at this scale.
pub fn amount_at(cursor: &mut Cursor<'_>, what: &'static str, scale: u8) -> ParseResult<i64> {
    let start = *cursor;
    decimal::rescale(amount(cursor, what)?, scale).or_else(|_| start.expected(what))
}

/// As [`amount`], at this scale where the quoted form fits it: the fast way for trades.
#[inline(always)]
pub fn amount_near(cursor: &mut Cursor<'_>, what: &'static str, scale: Scale) -> ParseResult<Decimal> {
    match cursor.quoted_at(scale) {
        Some(mantissa) => Ok(Decimal { mantissa, scale: scale.places() }),
        None => amount(cursor, what),
    }
}

/// A fraction of all, 0 to 1.
pub fn share(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Decimal> {
    let start = *cursor;
    let share = calculated_amount(cursor, what)?;
    let whole = decimal::power_of_ten(share.scale);
    if whole.is_some_and(|whole| share.mantissa <= whole) { Ok(share) } else { start.expected(what) }
}

/// `buy` or `sell`, in any case of letters.
pub fn side(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Side> {
    let start = *cursor;
    let text = cursor.text(what)?;
    if text.eq_ignore_ascii_case("buy") {
        Ok(Side::Buy)
    } else if text.eq_ignore_ascii_case("sell") {
        Ok(Side::Sell)
    } else {
        start.expected(what)
    }
}

/// The other side.
pub fn opposite(side: Side) -> Side {
    match side {
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    }
}

/// Milliseconds since 1970 as microseconds; none where they do not fit.
#[inline(always)]
pub fn micros_of_millis(millis: u64) -> Option<i64> {
    const LAST: u64 = i64::MAX.cast_unsigned() / 1000;
    (millis <= LAST).then(|| (millis * 1000).cast_signed())
}

/// A time in milliseconds, in quotes or not, as microseconds.
pub fn millis(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<i64> {
    let start = *cursor;
    micros_of_millis(cursor.unsigned(what)?).map_or_else(|| start.expected(what), Ok)
}

/// A number of decimal places.
pub fn decimal_places(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<u8> {
    let start = *cursor;
    let places = u8::try_from(cursor.unsigned(what)?).ok().filter(|places| *places <= decimal::SCALE_MAX);
    places.map_or_else(|| start.expected(what), Ok)
}

/// Takes the empty string or `null` of a value that is not set.
pub fn unset(cursor: &mut Cursor<'_>) -> bool {
    cursor.null() || cursor.literal(b"\"\"")
}

/// Reads with `read`; none where the value is an empty string or `null`.
pub fn unless_unset<'a, T>(
    cursor: &mut Cursor<'a>,
    what: &'static str,
    read: impl FnOnce(&mut Cursor<'a>, &'static str) -> ParseResult<T>,
) -> ParseResult<Option<T>> {
    if unset(cursor) { Ok(None) } else { read(cursor, what).map(Some) }
}

/// The text of the value that comes next, as the venue wrote it: a string without quotes and escapes, nothing for `null`.
pub fn value_text(cursor: &mut Cursor<'_>) -> ParseResult<String> {
    match cursor.peek() {
        b'"' => cursor.text("a string").map(|text| text.into_owned()),
        _ if cursor.null() => Ok(String::new()),
        _ => cursor.raw_value().map(|raw| String::from_utf8_lossy(raw).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact_or_refused_at_their_beginning() {
        let amount =
            |text: &str| amount(&mut Cursor::new(text.as_bytes()), "a").map(|one| (one.mantissa, one.scale));
        assert_eq!(amount("\"1.50\""), Ok((15, 1)));
        assert_eq!(amount("0"), Ok((0, 0)));
        assert!(amount("-1").is_err() && amount("\"x\"").is_err() && amount("null").is_err());
        let at = |text: &str| amount_at(&mut Cursor::new(text.as_bytes()), "a", 2);
        assert_eq!((at("1.50"), at("1e3")), (Ok(150), Ok(100_000)));
        assert!(at("1.505").is_err() && at("99999999999999999999").is_err());
        let side = |text: &str| side(&mut Cursor::new(text.as_bytes()), "side");
        assert_eq!((side("\"buy\""), side("\"SELL\"")), (Ok(Side::Buy), Ok(Side::Sell)));
        assert_eq!(side("\"hold\"").unwrap_err().at, 0);
        assert!(side("1").is_err());
        let millis = |text: &str| millis(&mut Cursor::new(text.as_bytes()), "a time").ok();
        assert_eq!(
            ["\"1700000000000\"", "7", "\"\\u0037\""].map(millis),
            [Some(1_700_000_000_000_000), Some(7000), Some(7000)]
        );
        assert_eq!(
            ["\"\"", "\"+7\"", "-7", "\"07\"", "7e3,", "99999999999999999999"].map(millis)[..4],
            [None; 4]
        );
        let share = |text: &str| share(&mut Cursor::new(text.as_bytes()), "a share").is_ok();
        assert_eq!(["\"1\"", "0.5", "1.01", "-0.1"].map(share), [true, true, false, false]);
    }
}
