//! Numbers without sign and exponent, which are read in a few steps.

use crate::cursor::Cursor;
use crate::decimal::{self, Scale, factor};
use crate::swar::{digit_run, digits_value, word};
use crate::types::Decimal;

/// A number without sign and exponent, without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainNumber {
    /// All digits; without those behind the point if they are zeros.
    pub mantissa: u64,
    /// Decimal places.
    pub places: u8,
}

impl PlainNumber {
    /// The mantissa at this scale; none where it does not fit.
    #[inline(always)]
    pub fn at(self, scale: Scale) -> Option<i64> {
        let wanted = scale.places();
        let power = |places: u8| decimal::power_of_ten(places).map(i64::cast_unsigned);
        let mantissa = if self.places <= wanted {
            decimal::times(self.mantissa, power(wanted - self.places)?)?
        } else {
            let beyond = power(self.places - wanted)?;
            if !self.mantissa.is_multiple_of(beyond) {
                return None;
            }
            self.mantissa / beyond
        };
        i64::try_from(mantissa).ok()
    }

    /// As a decimal, with the sign that was read before it; none where it does not fit.
    #[inline(always)]
    pub fn decimal(self, negative: bool) -> Option<Decimal> {
        let mantissa = i64::try_from(self.mantissa).ok()?;
        Some(Decimal { mantissa: if negative { -mantissa } else { mantissa }, scale: self.places })
    }
}

impl Cursor<'_> {
    /// The number that comes next, when it is a plain one. Does not move otherwise.
    #[inline(always)]
    pub fn plain_number(&mut self) -> Option<PlainNumber> {
        let Some(text) = word(self.rest()) else { return self.any_plain_number() };
        let (count, digits) = digit_run(text);
        if count == 0 || count == 8 || (count > 1 && digits & 0xff == 0) {
            return self.any_plain_number();
        }
        let whole = digits_value(digits, count);
        let rest = self.rest().get(count as usize..)?;
        let (end, fraction) = rest.split_first()?;
        if *end != b'.' {
            if matches!(end, b'e' | b'E') {
                return None;
            }
            self.set_rest(rest);
            return Some(PlainNumber { mantissa: whole, places: 0 });
        }
        let Some(text) = word(fraction) else { return self.any_plain_number() };
        let (count, digits) = digit_run(text);
        let end = fraction.get(count as usize);
        if count == 0 || count == 8 || matches!(end, Some(b'e' | b'E')) {
            return self.any_plain_number();
        }
        self.set_rest(fraction.get(count as usize..)?);
        let value = digits_value(digits, count);
        // Seven digits each.
        if value == 0 {
            return Some(PlainNumber { mantissa: whole, places: 0 });
        }
        Some(PlainNumber { mantissa: whole * factor(count) + value, places: u8::try_from(count).ok()? })
    }

    /// Moves over a whole number of up to 15 digits whose value is not needed. False, without moving, for anything else.
    #[inline(always)]
    pub fn skip_digits(&mut self) -> bool {
        let Some((mut count, digits)) = word(self.rest()).map(digit_run) else { return false };
        if count == 0 || (count > 1 && digits & 0xff == 0) {
            return false;
        }
        if count == 8 {
            let Some((more, _)) = self.rest().get(8..).and_then(word).map(digit_run) else { return false };
            if more == 8 {
                return false;
            }
            count += more;
        }
        self.advance(count as usize);
        true
    }

    /// As [`Cursor::plain_number`], of any length.
    #[inline(never)]
    fn any_plain_number(&mut self) -> Option<PlainNumber> {
        const ANY: &str = "digits";
        let mut next = *self;
        if !next_is_digit(&next) {
            return None;
        }
        let whole = next.unsigned(ANY).ok()?;
        let mut number = PlainNumber { mantissa: whole, places: 0 };
        if next.literal(b".") {
            let before = next.rest().len();
            let mut fraction = 0;
            // `unsigned` reads no leading zeros.
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
                let mantissa = decimal::times(whole, power)?.checked_add(fraction)?;
                number = PlainNumber { mantissa, places };
            }
        }
        if matches!(next.rest().first(), Some(b'e' | b'E')) {
            return None;
        }
        *self = next;
        Some(number)
    }

    /// As [`Cursor::unsigned`] for a number in quotes; none, without moving, where it needs the slow way: other forms, overflow.
    #[inline(always)]
    pub fn quoted_unsigned(&mut self) -> Option<u64> {
        let mut next = *self;
        if !next.literal(b"\"") || !next_is_digit(&next) {
            return None;
        }
        let value = next.unsigned("digits").ok()?;
        if !next.literal(b"\"") {
            return None;
        }
        *self = next;
        Some(value)
    }
}

#[inline(always)]
fn next_is_digit(cursor: &Cursor<'_>) -> bool {
    cursor.rest().first().is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::{parse, trimmed};

    /// The result of both ways must be the same, wherever the number stands.
    #[test]
    fn plain_numbers_are_exact_whatever_comes_behind_them() {
        let texts = "0 7 10 4714.0 0.0 0.0015 1626993723632 0.000001 1234567.1234567 12345678.12345678 \
            0.00000001 99999999 18446744073709551615 1.0000000 120.740";
        for text in texts.split_whitespace() {
            let expected = parse(text.as_bytes()).ok();
            for after in ["", ",", "]", "}           ", ",0,0,0,0,0,0"] {
                let whole = format!("{text}{after}");
                let mut cursor = Cursor::new(whole.as_bytes());
                let number = cursor.plain_number().unwrap_or_else(|| panic!("{whole}"));
                assert_eq!(cursor.at(), text.len(), "{whole}");
                assert_eq!(number.decimal(false).map(trimmed), expected, "{whole}");
            }
        }
    }

    #[test]
    fn other_forms_are_left_where_they_are() {
        for text in [
            "",
            "-1",
            "x",
            "01",
            "00.1",
            "1.",
            "1.x",
            ".5",
            "1e5",
            "1.5e5",
            "12345678e1",
            "1E1",
            "18446744073709551616",
        ] {
            for after in ["", ",          "] {
                let whole = format!("{text}{after}");
                let mut cursor = Cursor::new(whole.as_bytes());
                assert_eq!((cursor.plain_number(), cursor.at()), (None, 0), "{whole}");
            }
        }
    }

    #[test]
    fn digits_are_passed_over_up_to_what_follows_them() {
        for text in ["0", "7", "1234567", "12345678", "914047754", "123456789012345"] {
            for after in ["\"]               ", ",\"prevSeqId\":1007"] {
                let whole = format!("{text}{after}");
                let mut cursor = Cursor::new(whole.as_bytes());
                assert!(cursor.skip_digits(), "{whole}");
                assert_eq!(cursor.at(), text.len(), "{whole}");
            }
        }
        for other in ["", "x       ", "-1      ", "01      ", "1234567890123456,       ", "1"] {
            let mut cursor = Cursor::new(other.as_bytes());
            assert_eq!((cursor.skip_digits(), cursor.at()), (false, 0), "{other}");
        }
    }

    #[test]
    fn plain_numbers_fit_a_scale_or_not() {
        let at = |text: &str, places: u8| {
            Cursor::new(text.as_bytes()).plain_number().unwrap().at(Scale::new(places))
        };
        assert_eq!(
            ["42500.5", "42500.50", "42500.55"].map(|text| at(text, 1)),
            [Some(425_005), Some(425_005), None]
        );
        assert_eq!(at("42500.5", 4), Some(425_005_000));
        assert_eq!(at("1000.0", 0), Some(1000));
        assert_eq!(at("1.5", 18), Some(1_500_000_000_000_000_000));
        assert_eq!(
            ["9223372036854775807", "9223372036854775808"].map(|text| at(text, 0)),
            [Some(i64::MAX), None]
        );
        assert_eq!(at("9223372036854775807", 1), None);
    }

    #[test]
    fn the_fast_way_of_a_quoted_number_never_differs_from_the_other() {
        for text in
            ["0", "7", "12345678", "1626993723632", "18446744073709551615", "07", "-1", "7 ", "7.0", "x", ""]
        {
            for after in ["", ",          "] {
                let quoted = format!("\"{text}\"{after}");
                let (mut fast, mut slow) = (Cursor::new(quoted.as_bytes()), Cursor::new(quoted.as_bytes()));
                if let Some(value) = fast.quoted_unsigned() {
                    assert_eq!((Ok(value), fast.at()), (slow.unsigned("a number"), slow.at()), "{quoted}");
                } else {
                    assert_eq!(fast.at(), 0, "{quoted}");
                }
            }
        }
        let fast = |text: &str| Cursor::new(text.as_bytes()).quoted_unsigned();
        assert_eq!(
            ["\"1626993723632\"", "1626993723632", "\"7"].map(fast),
            [Some(1_626_993_723_632), None, None]
        );
    }
}
