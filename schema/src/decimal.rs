//! Exact decimals: an integer mantissa and a number of decimal places.

use std::fmt;

/// Most decimal places a [`Decimal`] may have: that of the `Decimal(38,18)` columns.
pub const SCALE_MAX: u8 = 18;

const POWERS_OF_TEN: [i64; 19] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    100_000_000_000,
    1_000_000_000_000,
    10_000_000_000_000,
    100_000_000_000_000,
    1_000_000_000_000_000,
    10_000_000_000_000_000,
    100_000_000_000_000_000,
    1_000_000_000_000_000_000,
];

/// `mantissa` divided by ten to the power of `scale`. Equality is that of the written form: compare [`Decimal::normalized`] values
/// to compare numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    /// All digits, with the sign.
    pub mantissa: i64,
    /// Number of digits after the decimal point, at most [`SCALE_MAX`].
    pub scale: u8,
}

/// Why a text is not a decimal that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not a number in plain notation.
    #[error("not a plain decimal number")]
    Syntax,
    /// More digits than 63 bits hold, or more than 18 decimal places.
    #[error("more digits than fit (63 bits, 18 decimal places)")]
    TooLong,
}

impl Decimal {
    /// A decimal from its parts. Scales above [`SCALE_MAX`] are an error.
    pub const fn new(mantissa: i64, scale: u8) -> Result<Self, DecimalError> {
        if scale > SCALE_MAX { Err(DecimalError::TooLong) } else { Ok(Self { mantissa, scale }) }
    }

    /// Reads plain notation: an optional minus, digits, and optionally a point and digits.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if digits.is_empty() || digits.ends_with('.') {
            return Err(DecimalError::Syntax);
        }
        let (mut mantissa, mut places, mut zeros) = (0_i64, 0, 0);
        let (mut is_fraction, mut is_too_long) = (false, false);
        for (i, byte) in digits.bytes().enumerate() {
            match byte {
                b'.' if i > 0 && !is_fraction => is_fraction = true,
                // Counts only if another digit follows.
                b'0' if is_fraction => zeros += 1,
                b'0'..=b'9' => {
                    let shift = zeros + 1;
                    places += if is_fraction { shift } else { 0 };
                    zeros = 0;
                    let shifted = POWERS_OF_TEN.get(shift).and_then(|power| mantissa.checked_mul(*power));
                    let digit = i64::from(byte - b'0');
                    // Summed up with its sign, because the lowest mantissa has no positive counterpart.
                    let summed = shifted.and_then(|shifted| {
                        if negative { shifted.checked_sub(digit) } else { shifted.checked_add(digit) }
                    });
                    match summed {
                        Some(sum) => mantissa = sum,
                        None => is_too_long = true,
                    }
                }
                _ => return Err(DecimalError::Syntax),
            }
        }
        match u8::try_from(places) {
            Ok(scale) if scale <= SCALE_MAX && !is_too_long => Ok(Self { mantissa, scale }),
            _ => Err(DecimalError::TooLong),
        }
    }

    /// Without trailing zeros after the decimal point.
    pub const fn normalized(self) -> Self {
        let (mut mantissa, mut scale) = (self.mantissa, self.scale);
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Self { mantissa, scale }
    }

    /// The mantissa of the same number with 18 decimal places: the value of a `Decimal(38,18)` column. Always fits.
    pub fn to_scale_18(self) -> i128 {
        let places = usize::from(SCALE_MAX.saturating_sub(self.scale));
        i128::from(self.mantissa) * POWERS_OF_TEN.get(places).copied().map_or(1, i128::from)
    }

    /// The mantissa of the same number with `scale` decimal places, if it fits exactly.
    pub fn rescale(self, scale: u8) -> Option<i64> {
        if scale >= self.scale {
            let power = POWERS_OF_TEN.get(usize::from(scale - self.scale))?;
            self.mantissa.checked_mul(*power)
        } else {
            let power = *POWERS_OF_TEN.get(usize::from(self.scale - scale))?;
            (self.mantissa % power == 0).then(|| self.mantissa / power)
        }
    }

    /// Appends plain notation without trailing zeros.
    pub fn write(self, out: &mut Vec<u8>) {
        let Self { mantissa, scale } = self.normalized();
        if mantissa < 0 {
            out.push(b'-');
        }
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(mantissa.unsigned_abs()).as_bytes();
        let places = usize::from(scale);
        if places == 0 {
            out.extend_from_slice(digits);
        } else if let Some((whole, fraction)) = digits.split_at_checked(digits.len().wrapping_sub(places))
            && !whole.is_empty()
        {
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        } else {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + places.saturating_sub(digits.len()), b'0');
            out.extend_from_slice(digits);
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_notation_round_trips() {
        for (text, written) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.00000637", "0.00000637"),
            ("6195.00000000", "6195"),
            ("-12.50", "-12.5"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("0.000000000000000001", "0.000000000000000001"),
            ("100", "100"),
            ("1.000000000000000000000000", "1"),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for text in [
            "9223372036854775808",
            "-9223372036854775809",
            "0.0000000000000000001",
            "92233720368547758.070001",
        ] {
            assert_eq!(Decimal::parse(text), Err(DecimalError::TooLong), "{text}");
        }
        for text in ["", "-", ".", "1.", ".5", "1e5", "+1", "1,0", " 1", "NaN", "--1", "1.2.3"] {
            assert_eq!(Decimal::parse(text), Err(DecimalError::Syntax), "{text}");
        }
    }

    #[test]
    fn columns_hold_every_decimal() {
        assert_eq!(Decimal { mantissa: 15, scale: 1 }.to_scale_18(), 1_500_000_000_000_000_000);
        assert_eq!(
            Decimal { mantissa: i64::MIN, scale: 0 }.to_scale_18(),
            i128::from(i64::MIN) * 1_000_000_000_000_000_000
        );
        assert_eq!(Decimal { mantissa: 1500, scale: 3 }.rescale(1), Some(15));
        assert_eq!(Decimal { mantissa: 1501, scale: 3 }.rescale(1), None);
        assert_eq!(Decimal { mantissa: i64::MAX, scale: 0 }.rescale(1), None);
    }
}
