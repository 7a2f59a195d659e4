//! Decimal numbers as a whole number and a count of places.

/// `digits` divided by ten to the power of `places`, without trailing zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    digits: i128,
    places: u32,
}

impl Number {
    pub fn zero() -> Number {
        Number { digits: 0, places: 0 }
    }

    /// Plain or exponent notation.
    pub fn parse(text: &str) -> Option<Number> {
        let (text, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i128 = exponent.parse().ok()?;
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let joined = format!("{whole}{fraction}");
        if whole.is_empty() || joined.len() > 36 || !joined.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut digits: i128 = joined.parse().ok()?;
        if digits == 0 {
            return Some(Number::zero());
        }
        if exponent.abs() > 60 {
            return None;
        }
        let mut places = fraction.len() as i128 - exponent;
        while places < 0 {
            digits = digits.checked_mul(10)?;
            places += 1;
        }
        Some(Number { digits: if negative { -digits } else { digits }, places: places as u32 }.plain())
    }

    fn plain(mut self) -> Number {
        while self.places > 0 && self.digits % 10 == 0 {
            (self.digits, self.places) = (self.digits / 10, self.places - 1);
        }
        self
    }

    pub fn places(&self) -> u32 {
        self.places
    }

    pub fn is_zero(&self) -> bool {
        self.digits == 0
    }

    pub fn is_negative(&self) -> bool {
        self.digits < 0
    }

    pub fn times(&self, other: &Number) -> Option<Number> {
        let digits = self.digits.checked_mul(other.digits)?;
        Some(Number { digits, places: self.places + other.places }.plain())
    }

    /// The quotient of two numbers of at least zero, rounded half to even at so many places.
    pub fn divided_by(&self, other: &Number, places: u32) -> Option<Number> {
        let above = self.digits.checked_mul(10i128.checked_pow(places + other.places)?)?;
        let below = other.digits.checked_mul(10i128.checked_pow(self.places)?)?;
        let (whole, rest) = (above.checked_div(below)?, above.checked_rem(below)?);
        let up = 2 * rest > below || (2 * rest == below && whole % 2 == 1);
        Some(Number { digits: whole + i128::from(up), places }.plain())
    }

    pub fn text(&self) -> String {
        let digits = format!("{:0>width$}", self.digits.abs(), width = self.places as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - self.places as usize);
        let sign = if self.digits < 0 { "-" } else { "" };
        if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }
}
