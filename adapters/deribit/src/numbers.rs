//! JSON numbers, exact from their text, and values that nobody needs.
//!
//! This venue writes prices and amounts as JSON numbers. Most are digits, a point and digits: these are read in a
//! few steps here; everything else that JSON allows goes the SDK's general way.

use marketprism_adapter_sdk::{Cursor, Decimal, Scale, Scan, decimal};
use std::borrow::Cow;

/// A number without sign and exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) mantissa: u64,
    pub(crate) places: u8,
}

impl Plain {
    /// The mantissa at this scale; none where it does not fit.
    #[inline(always)]
    pub(crate) fn at(self, scale: Scale) -> Option<i64> {
        let wanted = scale.places();
        let power = |places: u8| decimal::power_of_ten(places).map(i64::cast_unsigned);
        let mantissa = if self.places <= wanted {
            self.mantissa.checked_mul(power(wanted - self.places)?)?
        } else {
            let beyond = power(self.places - wanted)?;
            if !self.mantissa.is_multiple_of(beyond) {
                return None;
            }
            self.mantissa / beyond
        };
        i64::try_from(mantissa).ok()
    }

    fn decimal(self, negative: bool) -> Option<Decimal> {
        let mantissa = i64::try_from(self.mantissa).ok()?;
        Some(Decimal { mantissa: if negative { -mantissa } else { mantissa }, scale: self.places })
    }
}

/// The number that comes next, when it is a plain one. Does not move otherwise.
#[inline(always)]
pub(crate) fn plain(cursor: &mut Cursor<'_>) -> Option<Plain> {
    const ANY: &str = "digits";
    let mut next = *cursor;
    if !next_is_digit(&next) {
        return None;
    }
    let whole = next.unsigned(ANY).ok()?;
    let mut number = Plain { mantissa: whole, places: 0 };
    if next.literal(b".") {
        let before = next.rest().len();
        let mut fraction = 0;
        // The SDK reads no leading zeros.
        let zero = next.literal(b"0");
        while next.literal(b"0") {}
        if next_is_digit(&next) {
            fraction = next.unsigned(ANY).ok()?;
        } else if !zero {
            return None;
        }
        if fraction != 0 {
            let places = u8::try_from(before - next.rest().len()).ok()?;
            let power = decimal::power_of_ten(places)?.cast_unsigned();
            number = Plain { mantissa: whole.checked_mul(power)?.checked_add(fraction)?, places };
        }
    }
    if matches!(next.rest().first(), Some(b'e' | b'E')) {
        return None;
    }
    *cursor = next;
    Some(number)
}

#[inline(always)]
fn next_is_digit(cursor: &Cursor<'_>) -> bool {
    cursor.rest().first().is_some_and(u8::is_ascii_digit)
}

/// A number of any sign.
#[inline(always)]
pub(crate) fn number(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Decimal> {
    cursor.peek();
    let mut next = *cursor;
    let negative = next.literal(b"-");
    if let Some(number) = plain(&mut next).and_then(|number| number.decimal(negative)) {
        *cursor = next;
        return Ok(number);
    }
    any_number(cursor, what)
}

/// A number that cannot be below zero.
#[inline(always)]
pub(crate) fn amount(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Decimal> {
    let start = *cursor;
    let number = number(cursor, what)?;
    if number.mantissa < 0 { start.fault(what) } else { Ok(number) }
}

/// A number, or none for `null`.
pub(crate) fn given(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Option<Decimal>> {
    if cursor.null() { Ok(None) } else { number(cursor, what).map(Some) }
}

/// A JSON number in any form: the SDK's decimals allow more than JSON does.
#[cold]
fn any_number(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Decimal> {
    if !matches!(cursor.peek(), b'-' | b'0'..=b'9') {
        return cursor.fault(what);
    }
    let mut json = *cursor;
    json.skip()?;
    cursor.decimal(what)
}

/// Moves over a value of any kind, as `Cursor::skip` does; the flat objects of numbers that tickers carry faster.
#[inline(always)]
pub(crate) fn pass(cursor: &mut Cursor<'_>) -> Scan<()> {
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
    let plain = plain(&mut next).is_some();
    if plain {
        *cursor = next;
    }
    plain
}

fn pass_object(cursor: &mut Cursor<'_>) -> Scan<()> {
    let start = *cursor;
    let mut first = true;
    cursor.expect(b'{', "an object")?;
    while cursor.more(b'}', &mut first)? {
        member(cursor)?;
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

/// The key of the next member, with its colon.
#[inline(always)]
pub(crate) fn member<'a>(cursor: &mut Cursor<'a>) -> Scan<Cow<'a, [u8]>> {
    let mut next = *cursor;
    if let Some(key) = next.plain_text()
        && next.literal(b":")
    {
        *cursor = next;
        return Ok(Cow::Borrowed(key));
    }
    any_member(cursor)
}

#[cold]
fn any_member<'a>(cursor: &mut Cursor<'a>) -> Scan<Cow<'a, [u8]>> {
    Ok(match cursor.key_text()? {
        Cow::Borrowed(key) => Cow::Borrowed(key.as_bytes()),
        Cow::Owned(key) => Cow::Owned(key.into_bytes()),
    })
}

/// A string's bytes.
#[inline(always)]
pub(crate) fn text<'a>(cursor: &mut Cursor<'a>, what: &'static str) -> Scan<Cow<'a, [u8]>> {
    if let Some(text) = cursor.plain_text() {
        return Ok(Cow::Borrowed(text));
    }
    cursor.text(what).map(|text| Cow::Owned(text.into_owned().into_bytes()))
}

/// Sets a field that may stand only once in a message.
#[inline(always)]
pub(crate) fn once<T>(field: &mut Option<T>, value: T, cursor: &Cursor<'_>) -> Scan<()> {
    if field.replace(value).is_some() { cursor.fault("each field once") } else { Ok(()) }
}

/// A time of the venue, in milliseconds, as microseconds.
#[inline(always)]
pub(crate) fn micros(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<i64> {
    /// The year 5138. Microseconds of our time are beyond it.
    const MILLIS_LIMIT: u64 = 100_000_000_000_000;
    let start = *cursor;
    match i64::try_from(cursor.unsigned(what)?.saturating_mul(1000)) {
        Ok(micros) if micros < MILLIS_LIMIT.cast_signed() * 1000 => Ok(micros),
        _ => start.fault("a time in milliseconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, usize)> {
        let mut cursor = Cursor::new(text.as_bytes());
        let number = number(&mut cursor, "a number").ok()?;
        Some((decimal::to_text(number), cursor.at()))
    }

    // Goal: every JSON number is read exactly and nothing else is a number, on the fast way and on the general one. Method: a table of
    // texts, each alone, in an array and before the end of a long text.
    #[test]
    fn numbers_are_exact_or_refused() {
        for (text, expected) in [
            ("0", "0"),
            ("0.0", "0"),
            ("-0.0", "0"),
            ("10.0", "10"),
            ("0.0005", "0.0005"),
            ("0.00001742", "0.00001742"),
            ("-0.00001742", "-0.00001742"),
            ("1e-5", "0.00001"),
            ("1.742E-05", "0.00001742"),
            ("1e+3", "1000"),
            ("1132329370.0", "1132329370"),
            ("12345678901.12345", "12345678901.12345"),
            ("42500.50", "42500.5"),
            ("9223372036854775807", "9223372036854775807"),
            ("0.000000000000000001", "0.000000000000000001"),
        ] {
            for behind in ["", ",", "]", "}         ", " "] {
                assert_eq!(
                    read(&format!("{text}{behind}")),
                    Some((expected.to_owned(), text.len())),
                    "{text}"
                );
            }
        }
        for wrong in [
            "",
            "-",
            "+1",
            ".5",
            "5.",
            "1.e5",
            "01",
            "-01",
            "00.1",
            "1e",
            "1e+",
            "- 1",
            "1. 5",
            "\"1\"",
            "null",
            "9223372036854775808",
            "0.0000000000000000001",
            "x",
        ] {
            for behind in ["", ",          "] {
                // What stands behind a number is the caller's to refuse.
                let read = read(&format!("{wrong}{behind}"));
                assert!(read.is_none_or(|(_, at)| at < wrong.len()), "{wrong}");
            }
        }
    }

    // Goal: a mantissa is the number's at the asked scale, or none. Method: scales around the number's own.
    #[test]
    fn plain_numbers_fit_a_scale_or_not() {
        let at =
            |text: &str, places: u8| plain(&mut Cursor::new(text.as_bytes())).unwrap().at(Scale::new(places));
        assert_eq!(at("42500.5", 1), Some(425_005));
        assert_eq!(at("42500.5", 4), Some(425_005_000));
        assert_eq!(at("42500.50", 1), Some(425_005));
        assert_eq!(at("42500.55", 1), None);
        assert_eq!(at("1000.0", 0), Some(1000));
        assert_eq!(at("9223372036854775807", 1), None);
        assert_eq!(plain(&mut Cursor::new(b"1e-5")), None);
        assert_eq!(plain(&mut Cursor::new(b" 1")), None);
    }

    // Goal: what is passed over is JSON, all of it, and nothing behind it. Method: values of every kind against the SDK's way.
    #[test]
    fn values_are_passed_as_the_sdk_does() {
        for text in [
            "1",
            "-1.5e3,",
            "\"a\\\"b\",",
            "\"abc\",1",
            "null,",
            "true}",
            "{}",
            "{\"volume\":null,\"low\":-0.5,\"high\":1e-5} ",
            "{\"a\":[1,2],\"b\":{\"c\":1}},",
            "[1,{\"a\":2}]",
            "{\"a\":01}",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":1,}",
            "{\"a\":tru}",
            "-",
            "",
        ] {
            let (mut one, mut other) = (Cursor::new(text.as_bytes()), Cursor::new(text.as_bytes()));
            let (passed, skipped) = (pass(&mut one), other.skip());
            assert_eq!(passed.is_ok(), skipped.is_ok(), "{text}");
            assert!(passed.is_err() || one.at() == other.at(), "{text}");
        }
    }

    // Goal: times are milliseconds. Method: the largest and one beyond, and microseconds.
    #[test]
    fn times_are_milliseconds() {
        let read = |text: &str| micros(&mut Cursor::new(text.as_bytes()), "a time").ok();
        assert_eq!(read("1626993723632"), Some(1_626_993_723_632_000));
        for wrong in ["1626993723632000", "-1", "1.5e3x", "99999999999999999999", ""] {
            assert!(read(wrong).is_none() || wrong.starts_with("1.5"), "{wrong}");
        }
    }
}
