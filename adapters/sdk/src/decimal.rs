//! Exact decimal numbers from text: what does not fit is an error. [`quotient`] and [`parse_rounded`] alone round, and say so.

use crate::types::Decimal;

/// The finest scale of the contract, in decimal places.
pub const SCALE_MAX: u8 = 18;

const POWERS: [u64; 19] = {
    let mut powers = [1u64; 19];
    let mut exponent = 1;
    while exponent < powers.len() {
        // In a constant: a wrong index or an overflow does not compile.
        #[allow(clippy::indexing_slicing)]
        {
            powers[exponent] = powers[exponent - 1] * 10;
        }
        exponent += 1;
    }
    powers
};

/// A text that is no decimal number of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalError {
    /// The text is not a number.
    NotANumber,
    /// The number is too large for a 64-bit mantissa.
    Overflow,
    /// The number has more decimal places than the scale, or than 18.
    TooFine,
}

impl std::fmt::Display for DecimalError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            DecimalError::NotANumber => "not a decimal number",
            DecimalError::Overflow => "number too large for a 64-bit mantissa",
            DecimalError::TooFine => "number has too many decimal places",
        })
    }
}

impl std::error::Error for DecimalError {}

/// Ten to the power of `exponent`, for exponents up to 18.
pub fn power_of_ten(exponent: u8) -> Option<i64> {
    POWERS.get(usize::from(exponent)).and_then(|power| i64::try_from(*power).ok())
}

/// A number of decimal places with what the fast scanner needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    places: u8,
    pub(crate) power: u64,
    /// Integer parts below this one leave room for any fraction.
    pub(crate) integer_limit: u64,
}

impl Scale {
    /// A scale of `places` decimal places; more than 18 count as 18.
    pub fn new(places: u8) -> Scale {
        let places = places.min(SCALE_MAX);
        let power = POWERS.get(usize::from(places)).copied().unwrap_or(1);
        Scale { places, power, integer_limit: i64::MAX.cast_unsigned() / power }
    }

    /// Decimal places.
    pub fn places(self) -> u8 {
        self.places
    }
}

/// The product; none where it does not fit. A sandbox has no multiplication that reports an overflow: it would be a call.
#[inline(always)]
pub fn times(left: u64, right: u64) -> Option<u64> {
    if left.leading_zeros() + right.leading_zeros() >= 64 {
        Some(left.wrapping_mul(right))
    } else {
        left.checked_mul(right)
    }
}

/// As [`times`], of a number with a sign.
#[inline(always)]
pub fn signed_times(left: i64, right: i64) -> Option<i64> {
    match (u64::try_from(left), u64::try_from(right)) {
        (Ok(left), Ok(right)) => i64::try_from(times(left, right)?).ok(),
        _ => left.checked_mul(right),
    }
}

/// The power of ten as a plain factor; 1 beyond 18, which no caller reaches.
#[inline(always)]
pub(crate) fn factor(exponent: u32) -> u64 {
    POWERS.get(exponent as usize).copied().unwrap_or(1)
}

/// Reads a number with the smallest scale that holds it: `1.500` is 15 with scale 1. Exponents are accepted
/// and exact.
pub fn parse(text: &[u8]) -> Result<Decimal, DecimalError> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let (integer, rest) = digits_of(digits);
    let (fraction, rest) = match rest.split_first() {
        Some((b'.', rest)) => {
            let (fraction, rest) = digits_of(rest);
            if fraction.is_empty() {
                return Err(DecimalError::NotANumber);
            }
            (fraction, rest)
        }
        _ => (&[][..], rest),
    };
    let exponent = match rest.split_first() {
        None => 0,
        Some((b'e' | b'E', rest)) => exponent_of(rest)?,
        Some(_) => return Err(DecimalError::NotANumber),
    };
    if integer.is_empty() {
        return Err(DecimalError::NotANumber);
    }
    let fraction = trim_zeros(fraction);
    let mantissa = accumulate(accumulate(0, integer)?, fraction)?;
    let places = i64::try_from(fraction.len()).map_err(|_| DecimalError::TooFine)? - exponent;
    let mantissa = i128::from(mantissa);
    at_smallest_scale(if negative { -mantissa } else { mantissa }, places)
}

/// Most digits, and decimal places, of a number that [`parse_rounded`] rounds: every 64-bit mantissa holds them.
const DIGITS_ROUNDED: i64 = 18;

/// As [`parse`]; a number that does not fit is rounded to 18 digits and at most 18 decimal places, half to even. For values that a venue
/// calculates in binary floating point (rates, ratios, totals), never for prices and quantities of trades and books.
///
/// # Errors
/// `NotANumber`, or `Overflow` where digits before the point would be lost.
pub fn parse_rounded(text: &[u8]) -> Result<Decimal, DecimalError> {
    match parse(text) {
        Err(DecimalError::Overflow | DecimalError::TooFine) => rounded(text),
        number => number,
    }
}

/// `text` is a number that does not fit.
fn rounded(text: &[u8]) -> Result<Decimal, DecimalError> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let (whole, rest) = digits_of(text);
    let (fraction, rest) = rest.strip_prefix(b".").map_or((&[][..], rest), digits_of);
    let exponent = match rest.split_first() {
        None => 0,
        Some((b'e' | b'E', rest)) => exponent_of(rest)?,
        Some(_) => return Err(DecimalError::NotANumber),
    };
    let digits = [whole, fraction].concat();
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let digits = digits.get(zeros..).unwrap_or_default();
    let length = |part: &[u8]| i64::try_from(part.len()).map_err(|_| DecimalError::Overflow);
    let (count, places) = (length(digits)?, length(fraction)? - exponent);
    let cut = (count - DIGITS_ROUNDED).max(places - DIGITS_ROUNDED).max(0);
    if cut > places {
        return Err(DecimalError::Overflow);
    }
    let (kept, beyond) = match usize::try_from(count - cut) {
        Ok(kept) => digits.split_at_checked(kept).ok_or(DecimalError::Overflow)?,
        // Less than half of the last place.
        Err(_) => return Ok(Decimal { mantissa: 0, scale: 0 }),
    };
    let value = accumulate(0, kept)?;
    let up = match trim_zeros(beyond) {
        [b'5'] => value % 2 == 1,
        [first, ..] => *first >= b'5',
        [] => false,
    };
    let mantissa = i128::from(value + u64::from(up));
    at_smallest_scale(if negative { -mantissa } else { mantissa }, places - cut)
}

/// Reads a number at a given scale; decimal places beyond it must be zeros.
pub fn parse_at(text: &[u8], scale: u8) -> Result<i64, DecimalError> {
    rescale(parse(text)?, scale)
}

/// The mantissa of the same number at another scale.
///
/// # Errors
/// `TooFine` where places that are not zero would be lost, `Overflow` where the mantissa does not fit.
pub fn rescale(number: Decimal, scale: u8) -> Result<i64, DecimalError> {
    if scale >= number.scale {
        let power = power_of_ten(scale - number.scale).ok_or(DecimalError::Overflow)?;
        return signed_times(number.mantissa, power).ok_or(DecimalError::Overflow);
    }
    let power = power_of_ten(number.scale - scale).ok_or(DecimalError::TooFine)?;
    if number.mantissa % power != 0 {
        return Err(DecimalError::TooFine);
    }
    Ok(number.mantissa / power)
}

/// A step such as a tick size: 1 with scale 4 for `0.00010000`. None where the step is zero, which venues write for "no step".
pub fn step(text: &[u8]) -> Result<Option<Decimal>, DecimalError> {
    let step = parse(text)?;
    Ok((step.mantissa != 0).then_some(step))
}

/// The exact product.
///
/// # Errors
/// `Overflow` or `TooFine` where it does not fit a decimal of the contract.
pub fn product(left: Decimal, right: Decimal) -> Result<Decimal, DecimalError> {
    let wide = i128::from(left.mantissa) * i128::from(right.mantissa);
    at_smallest_scale(wide, i64::from(left.scale) + i64::from(right.scale))
}

/// The quotient at a given scale, rounded half to even, for values that the venue does not give and that no decimal holds: the base units of an inverse contract (`value / price`), the shares of a ratio.
///
/// # Errors
/// `NotANumber` for a division by zero, `Overflow` where the result does not fit at this scale.
pub fn quotient(numerator: Decimal, denominator: Decimal, scale: u8) -> Result<i64, DecimalError> {
    let up = i32::from(scale) + i32::from(denominator.scale) - i32::from(numerator.scale);
    let power = 10i128.checked_pow(up.unsigned_abs()).ok_or(DecimalError::Overflow)?;
    let (mut above, mut below) = (i128::from(numerator.mantissa), i128::from(denominator.mantissa));
    if up >= 0 {
        above = above.checked_mul(power).ok_or(DecimalError::Overflow)?;
    } else {
        below = below.checked_mul(power).ok_or(DecimalError::Overflow)?;
    }
    let whole = above.checked_div(below).ok_or(DecimalError::NotANumber)?;
    let twice_rest = (above - whole * below).unsigned_abs().checked_mul(2).ok_or(DecimalError::Overflow)?;
    let away = match twice_rest.cmp(&below.unsigned_abs()) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => whole % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    let step = if (above < 0) == (below < 0) { 1 } else { -1 };
    i64::try_from(whole + if away { step } else { 0 }).map_err(|_| DecimalError::Overflow)
}

/// The scale of quantities that are derived by dividing by a price with this many places: fine enough that no contract vanishes, coarse
/// enough that a billion of quote units fits. Low prices, which have many places, mean large quantities.
pub fn derived_scale(price_places: u8) -> u8 {
    13u8.saturating_sub(price_places).clamp(4, 12)
}

/// At this scale where it fits; a finer number keeps its own.
#[inline]
pub fn fit(number: Decimal, scale: u8) -> Decimal {
    if number.scale == scale {
        return number;
    }
    match rescale(number, scale) {
        Ok(mantissa) => Decimal { mantissa, scale },
        Err(_) => number,
    }
}

/// The number at its smallest scale.
pub fn trimmed(number: Decimal) -> Decimal {
    let Decimal { mut mantissa, mut scale } = number;
    while scale > 0 && mantissa % 10 == 0 {
        (mantissa, scale) = (mantissa / 10, scale - 1);
    }
    Decimal { mantissa, scale }
}

/// Plain notation without trailing zeros.
pub fn to_text(number: Decimal) -> String {
    let sign = if number.mantissa < 0 { "-" } else { "" };
    let digits = number.mantissa.unsigned_abs().to_string();
    let places = usize::from(number.scale);
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (integer, fraction) = padded.split_at(padded.len() - places);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{integer}") } else { format!("{sign}{integer}.{fraction}") }
}

fn digits_of(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

fn trim_zeros(mut digits: &[u8]) -> &[u8] {
    while let Some((b'0', rest)) = digits.split_last() {
        digits = rest;
    }
    digits
}

fn accumulate(start: u64, digits: &[u8]) -> Result<u64, DecimalError> {
    digits.iter().try_fold(start, |value, digit| {
        value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit.wrapping_sub(b'0'))))
            .ok_or(DecimalError::Overflow)
    })
}

fn exponent_of(text: &[u8]) -> Result<i64, DecimalError> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let (digits, rest) = digits_of(digits);
    if digits.is_empty() || !rest.is_empty() {
        return Err(DecimalError::NotANumber);
    }
    // An exponent of more digits is out of every range; its exact value does not matter then.
    let value = accumulate(0, digits).unwrap_or(1_000_000).min(1_000_000).cast_signed();
    Ok(if negative { -value } else { value })
}

/// The number of a mantissa with any number of places, at the smallest scale from 0 to 18.
fn at_smallest_scale(mut mantissa: i128, mut places: i64) -> Result<Decimal, DecimalError> {
    if let (Ok(mantissa), Ok(scale @ 0..=SCALE_MAX)) = (i64::try_from(mantissa), u8::try_from(places)) {
        return Ok(trimmed(Decimal { mantissa, scale }));
    }
    if mantissa == 0 {
        return Ok(Decimal { mantissa: 0, scale: 0 });
    }
    while places > 0 && mantissa % 10 == 0 {
        (mantissa, places) = (mantissa / 10, places - 1);
    }
    while places < 0 {
        (mantissa, places) = (mantissa.checked_mul(10).ok_or(DecimalError::Overflow)?, places + 1);
    }
    let scale = u8::try_from(places).ok().filter(|scale| *scale <= SCALE_MAX).ok_or(DecimalError::TooFine)?;
    Ok(Decimal { mantissa: i64::try_from(mantissa).map_err(|_| DecimalError::Overflow)?, scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_exact_and_quotients_rounded_to_even() {
        let of = |text: &str| parse(text.as_bytes()).unwrap();
        assert_eq!(product(of("1500"), of("0.01")), number(15, 0));
        assert_eq!(product(of("-0.25"), of("0.4")), number(-1, 1));
        assert_eq!(product(of("9223372036854775807"), of("10")), Err(DecimalError::Overflow));
        assert_eq!(product(of("0.0000000001"), of("0.0000000001")), Err(DecimalError::TooFine));
        assert_eq!(quotient(of("100"), of("30000"), 8), Ok(333_333));
        assert_eq!(quotient(of("200"), of("30000"), 8), Ok(666_667));
        assert_eq!(quotient(of("1"), of("8"), 2), Ok(12));
        assert_eq!(quotient(of("3"), of("8"), 2), Ok(38));
        assert_eq!(quotient(of("-3"), of("8"), 2), Ok(-38));
        assert_eq!(quotient(of("0.001"), of("8"), 1), Ok(0));
        assert_eq!(quotient(of("1"), of("0"), 2), Err(DecimalError::NotANumber));
        assert_eq!(quotient(of("9223372036854775807"), of("0.1"), 0), Err(DecimalError::Overflow));
        assert_eq!([0, 1, 4, 9, 18].map(derived_scale), [12, 12, 9, 4, 4]);
    }

    fn number(mantissa: i64, scale: u8) -> Result<Decimal, DecimalError> {
        Ok(Decimal { mantissa, scale })
    }

    #[test]
    fn texts_are_read_exactly_or_refused() {
        assert_eq!(parse(b"0.35130000"), number(3513, 4));
        assert_eq!(parse(b"6195.00000000"), number(6195, 0));
        assert_eq!(parse(b"-0.001"), number(-1, 3));
        assert_eq!(parse(b"0"), number(0, 0));
        assert_eq!(parse(b"-0.000"), number(0, 0));
        assert_eq!(parse(b"1e-7"), number(1, 7));
        assert_eq!(parse(b"1.5E+3"), number(1500, 0));
        assert_eq!(parse(b"100e-20"), number(1, 18));
        assert_eq!(parse(b"0e999999999999999999999999"), number(0, 0));
        assert_eq!(parse(b"9223372036854775807"), number(i64::MAX, 0));
        assert_eq!(parse(b"9.223372036854775807"), number(i64::MAX, 18));
        assert_eq!(parse(b"0.1000000000000000000000000000"), number(1, 1));
        assert_eq!(parse(b"9223372036854775808"), Err(DecimalError::Overflow));
        assert_eq!(parse(b"99999999999999999999999"), Err(DecimalError::Overflow));
        assert_eq!(parse(b"1e19"), Err(DecimalError::Overflow));
        assert_eq!(parse(b"1e999999999999999999"), Err(DecimalError::Overflow));
        assert_eq!(parse(b"0.0000000000000000001"), Err(DecimalError::TooFine));
        for text in [
            "", "-", ".", ".5", "5.", "1e", "1e+", "+1", " 1", "1 ", "1.2.3", "0x10", "1,5", "NaN", "--1",
            "1e1.5",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(DecimalError::NotANumber), "{text}");
        }
    }

    #[test]
    fn calculated_numbers_keep_every_digit_that_a_mantissa_holds_rounded_half_to_even() {
        for (text, number) in [
            ("88957542893.771927925084", "88957542893.7719279"),
            ("963996.95809999716", "963996.95809999716"),
            ("-0.00018774088690145984", "-0.00018774088690146"),
            ("1.00000000000000000050", "1"),
            ("99.00000000000000015", "99.0000000000000002"),
            ("99.00000000000000025", "99.0000000000000002"),
            ("99999999999.99999999999", "100000000000"),
            ("0.0000000000000000005", "0"),
            ("0.0000000000000000015", "0.000000000000000002"),
            ("-3.123e-18", "-0.000000000000000003"),
            ("5.1e-19", "0.000000000000000001"),
            ("1e-999999999999999999", "0"),
            ("123456789012345678.95e-3", "123456789012345.679"),
        ] {
            assert_eq!(parse_rounded(text.as_bytes()).map(to_text).as_deref(), Ok(number), "{text}");
        }
        for wrong in ["", "x", "99999999999999999999.5", "1e19", "1.00000000000000000000x", "1e-30x"] {
            assert!(parse_rounded(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rescaling_never_rounds() {
        assert_eq!(parse_at(b"0.35130000", 4), Ok(3513));
        assert_eq!(parse_at(b"0.35130000", 8), Ok(35_130_000));
        assert_eq!(parse_at(b"0.35131", 4), Err(DecimalError::TooFine));
        assert_eq!(rescale(Decimal { mantissa: 1500, scale: 3 }, 1), Ok(15));
        assert_eq!(rescale(Decimal { mantissa: 10, scale: 0 }, 18), Err(DecimalError::Overflow));
        assert_eq!(rescale(Decimal { mantissa: -9, scale: 0 }, 18), Ok(-9_000_000_000_000_000_000));
    }

    #[test]
    fn steps_give_places() {
        let some = |mantissa, scale| Ok(Some(Decimal { mantissa, scale }));
        assert_eq!(step(b"0.00010000"), some(1, 4));
        assert_eq!(step(b"1.00000000"), some(1, 0));
        assert_eq!(step(b"10"), some(10, 0));
        assert_eq!(step(b"0.00000000"), Ok(None));
        assert_eq!(step(b""), Err(DecimalError::NotANumber));
    }

    #[test]
    fn numbers_are_written_plainly() {
        for (mantissa, scale, text) in [
            (3513, 4, "0.3513"),
            (-1, 18, "-0.000000000000000001"),
            (1500, 3, "1.5"),
            (0, 5, "0"),
            (120, 0, "120"),
        ] {
            assert_eq!(to_text(Decimal { mantissa, scale }), text);
        }
    }
}
