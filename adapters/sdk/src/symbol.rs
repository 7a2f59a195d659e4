//! Normalized symbols: `BASE-QUOTE`, dated `BASE-QUOTE-YYMMDD`, options `BASE-QUOTE-YYMMDD-STRIKE-C|P`.

use crate::types::Decimal;

/// The day on which a contract ends, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    year: u16,
    month: u8,
    day: u8,
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

impl Expiry {
    /// From year (2000 to 2099), month and day; none for a day that does not exist.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Expiry> {
        let leap = year.is_multiple_of(4);
        let days = match month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u8::from(leap),
            1..=12 => 31,
            _ => return None,
        };
        let valid = (2000..2100).contains(&year) && (1..=days).contains(&day);
        valid.then_some(Expiry { year, month, day })
    }

    /// From `YYMMDD`.
    pub fn from_digits(text: &str) -> Option<Expiry> {
        if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<u8>().ok();
        Expiry::new(2000 + u16::from(part(0..2)?), part(2..4)?, part(4..6)?)
    }

    /// From `25DEC26` or `5JAN27`.
    pub fn from_day_month_year(text: &str) -> Option<Expiry> {
        let (rest, year) = text.split_at_checked(text.len().checked_sub(2)?)?;
        let (day, name) = rest.split_at_checked(rest.len().checked_sub(3)?)?;
        let month = (1u8..).zip(MONTHS).find(|(_, month)| *month == name)?.0;
        let digits = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u8>().ok()).flatten()
        };
        Expiry::new(2000 + u16::from(digits(year)?), month, digits(day)?)
    }

    /// The UTC day of a time in milliseconds since 1970.
    pub fn from_millis(millis: i64) -> Option<Expiry> {
        // Days to a calendar date, with years that begin in March so that the leap day comes last.
        let days = millis.div_euclid(86_400_000) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Expiry::new(u16::try_from(year).ok()?, u8::try_from(month).ok()?, u8::try_from(day).ok()?)
    }
}

impl std::fmt::Display for Expiry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:02}{:02}{:02}", self.year % 100, self.month, self.day)
    }
}

/// Right to buy or right to sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// The right to buy.
    Call,
    /// The right to sell.
    Put,
}

/// `BASE-QUOTE`.
pub fn pair(base: &str, quote: &str) -> String {
    format!("{base}-{quote}")
}

/// `BASE-QUOTE-YYMMDD`.
pub fn dated(base: &str, quote: &str, expiry: Expiry) -> String {
    format!("{base}-{quote}-{expiry}")
}

/// `BASE-QUOTE-YYMMDD-STRIKE-C|P`. The point of a fractional strike is written `d`: a symbol is one token of a subject, whose tokens are
/// separated by points.
pub fn option(base: &str, quote: &str, expiry: Expiry, strike: Decimal, kind: OptionKind) -> String {
    let letter = match kind {
        OptionKind::Call => 'C',
        OptionKind::Put => 'P',
    };
    let strike = crate::decimal::to_text(strike).replace('.', "d");
    format!("{base}-{quote}-{expiry}-{strike}-{letter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_are_read_or_refused() {
        let day = Expiry::new(2026, 3, 27);
        assert_eq!(Expiry::from_digits("260327"), day);
        assert_eq!(Expiry::from_day_month_year("27MAR26"), day);
        assert_eq!(Expiry::from_millis(1_774_598_400_000), day);
        assert_eq!(Expiry::from_millis(1_774_684_799_999).unwrap().to_string(), "260328");
        assert_eq!(Expiry::from_millis(951_782_400_000).unwrap().to_string(), "000229");
        assert_eq!(Expiry::from_day_month_year("5JAN27").unwrap().to_string(), "270105");
        for wrong in ["", "2603", "26032x", "260230", "261301", "+60327", "2026-03-27", "\u{e9}1234"] {
            assert_eq!(Expiry::from_digits(wrong), None, "{wrong}");
        }
        for wrong in ["", "MAR26", "31FEB26", "27mar26", "27MAR2\u{e9}", "+7MAR26"] {
            assert_eq!(Expiry::from_day_month_year(wrong), None, "{wrong}");
        }
        assert_eq!(Expiry::from_millis(i64::MIN), None);
        assert_eq!(Expiry::from_millis(4_133_404_800_000), None);
    }

    #[test]
    fn symbols_have_one_form() {
        let expiry = Expiry::new(2025, 12, 26).unwrap();
        assert_eq!(pair("BTC", "FDUSD"), "BTC-FDUSD");
        assert_eq!(dated("BTC", "USDT", expiry), "BTC-USDT-251226");
        let strike = Decimal { mantissa: 1_000_000, scale: 1 };
        assert_eq!(option("BTC", "USD", expiry, strike, OptionKind::Call), "BTC-USD-251226-100000-C");
        let strike = Decimal { mantissa: 102, scale: 2 };
        assert_eq!(option("MATIC", "USDC", expiry, strike, OptionKind::Put), "MATIC-USDC-251226-1d02-P");
    }
}
