//! Exact decimals with the venue's digits. Independent of the product's decimals, which it tests.

use std::fmt;

/// `units * 10^-scale`, printed with exactly `scale` digits behind the point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decimal {
    pub units: i64,
    pub scale: u8,
}

impl Decimal {
    /// Reads plain notation (`-12.3400`); the scale is the number of digits behind the point.
    /// `None` for anything else or for what does not fit.
    pub fn parse(text: &str) -> Option<Decimal> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || fraction.len() > 18 {
            return None;
        }
        let mut units: i64 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            units = units.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
        }
        Some(Decimal {
            units: if negative { -units } else { units },
            scale: u8::try_from(fraction.len()).ok()?,
        })
    }

    /// Without trailing zeros behind the point.
    pub fn trimmed(self) -> Decimal {
        self.trimmed_to(0)
    }

    pub fn trimmed_to(mut self, kept: u8) -> Decimal {
        while self.scale > kept && self.units % 10 == 0 {
            self.units /= 10;
            self.scale -= 1;
        }
        self
    }

    pub fn times(self, other: Decimal) -> String {
        let mut units = i128::from(self.units) * i128::from(other.units);
        let mut scale = u32::from(self.scale) + u32::from(other.scale);
        while scale > 0 && units % 10 == 0 {
            units /= 10;
            scale -= 1;
        }
        let mut text = String::new();
        push_wide(&mut text, units, scale);
        text
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(24);
        push(&mut text, self.units, self.scale);
        f.write_str(&text)
    }
}

/// Appends `units * 10^-scale` in plain notation.
pub fn push(out: &mut String, units: i64, scale: u8) {
    push_wide(out, i128::from(units), u32::from(scale));
}

pub fn push_wide(out: &mut String, units: i128, scale: u32) {
    use fmt::Write as _;
    let magnitude = units.unsigned_abs();
    if units < 0 {
        out.push('-');
    }
    let power = 10u128.pow(scale.min(38));
    // Narrow arithmetic is several times faster, and every price of a default market fits it.
    // Writing to a String cannot fail.
    let _ = match (u64::try_from(magnitude), u64::try_from(power)) {
        (Ok(m), Ok(p)) if scale > 0 => write!(out, "{}.{:0width$}", m / p, m % p, width = scale as usize),
        _ if scale > 0 => {
            write!(out, "{}.{:0width$}", magnitude / power, magnitude % power, width = scale as usize)
        }
        _ => write!(out, "{magnitude}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_a_round_trip() {
        for text in ["0.00000001", "65000.10", "12", "-3.50", "0.000", "92233720368547758.07"] {
            assert_eq!(Decimal::parse(text).expect(text).to_string(), text);
        }
        for bad in ["", ".5", "1e5", "1.2.3", "92233720368547758070", "abc"] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn products_are_exact_and_trimmed() {
        let parse = |text| Decimal::parse(text).expect(text);
        assert_eq!(parse("129").times(parse("0.01")), "1.29");
        assert_eq!(parse("50.0").times(parse("0.2")), "10");
        assert_eq!(parse("-0.300").trimmed().to_string(), "-0.3");
        assert_eq!(parse("0.000").trimmed().to_string(), "0");
        assert_eq!(parse("-12.3000").trimmed_to(1).to_string(), "-12.3");
        assert_eq!(parse("0.000").trimmed_to(1).to_string(), "0.0");
    }
}
