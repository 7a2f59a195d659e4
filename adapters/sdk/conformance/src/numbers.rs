//! The numbers of a frame, read by a scanner that shares nothing with any adapter.

use marketprism_adapter_host::contract::Decimal;

/// A number times ten to the power of 18: every decimal of the contract is a whole number of these.
pub(crate) type Atto = i128;

const PLACES: i32 = 18;

/// Numbers from here on fit no decimal of the contract.
const LIMIT: Atto = 10_i128.pow(37);

/// Digits of a number that fits no decimal of the contract and may be rounded.
const SIGNIFICANT: usize = 18;

/// The numbers of one or several frames, in order and once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    exact: Vec<Atto>,
    /// Those that fit no decimal of the contract, rounded half to even to 18 digits.
    rounded: Vec<Atto>,
}

pub(crate) fn atto(number: Decimal) -> Atto {
    let places = u32::from(18_u8.saturating_sub(number.scale));
    i128::from(number.mantissa) * 10_i128.pow(places)
}

impl Numbers {
    /// The numbers of a frame. In JSON a number is a whole scalar or a whole string; in any other text every run of digits counts.
    pub(crate) fn of(bytes: &[u8], is_json: bool) -> Self {
        let mut found = Numbers::default();
        if is_json {
            scan_json(bytes, &mut found);
        } else {
            let is_part =
                |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
            bytes.split(|byte| !is_part(byte)).for_each(|text| found.take(text));
        }
        found.sort();
        found
    }

    fn take(&mut self, text: &[u8]) {
        let exact = parse(text);
        self.exact.extend(exact);
        if exact.is_none_or(|value| !fits(value)) {
            self.rounded.extend(round(text));
        }
    }

    fn sort(&mut self) {
        for values in [&mut self.exact, &mut self.rounded] {
            values.sort_unstable();
            values.dedup();
        }
    }

    pub(crate) fn contains(&self, value: Atto) -> bool {
        self.exact.binary_search(&value).is_ok()
    }

    /// For what a venue calculates (rates, totals, ratios, marks): a number that fits no decimal of the contract is rounded.
    pub(crate) fn contains_calculated(&self, value: Atto) -> bool {
        self.contains(value) || self.rounded.binary_search(&value).is_ok()
    }

    /// Those of `contains_calculated`.
    pub(crate) fn calculated(&self) -> impl Iterator<Item = &Atto> {
        self.exact.iter().chain(&self.rounded)
    }

    pub(crate) fn all(&self) -> &[Atto] {
        &self.exact
    }

    /// Those from `low` to `high`, both included.
    pub(crate) fn between(&self, low: Atto, high: Atto) -> &[Atto] {
        let from = self.exact.partition_point(|value| *value < low);
        let rest = self.exact.get(from..).unwrap_or_default();
        rest.get(..rest.partition_point(|value| *value <= high)).unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: &Numbers) {
        self.exact.extend_from_slice(&other.exact);
        self.rounded.extend_from_slice(&other.rounded);
        self.sort();
    }
}

/// True for a decimal of the contract: a mantissa of 64 bits and 18 places.
fn fits(value: Atto) -> bool {
    let (mut value, mut places) = (value, PLACES);
    while places > 0 && value % 10 == 0 {
        (value, places) = (value / 10, places - 1);
    }
    i64::try_from(value).is_ok()
}

/// A number rounded half to even to 18 digits and 18 places.
fn round(text: &[u8]) -> Option<Atto> {
    let text = std::str::from_utf8(text).ok()?;
    let (sign, number) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: String = [whole, fraction].concat();
    let all = all.trim_start_matches('0');
    let places = i32::try_from(fraction.len()).ok()?.checked_sub(exponent.parse().ok()?)?;
    let cut = all.len().saturating_sub(SIGNIFICANT).max(usize::try_from(places - PLACES).unwrap_or(0));
    let Some(kept) = all.len().checked_sub(cut) else { return Some(0) };
    let (kept, rest) = all.split_at_checked(kept)?;
    let mut mantissa: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let half = rest.bytes().all(|digit| digit.is_ascii_digit()).then(|| rest.trim_end_matches('0'))?;
    let up = match half {
        "5" => mantissa % 2 != 0,
        more => more >= "5",
    };
    mantissa += i128::from(up);
    parse(format!("{sign}{mantissa}e{}", i32::try_from(cut).ok()? - places).as_bytes())
}

fn scan_json(bytes: &[u8], found: &mut Numbers) {
    let mut rest = bytes;
    while let Some((byte, next)) = rest.split_first() {
        if *byte == b'"' {
            let (text, escaped, after) = string(next);
            if escaped {
                let quoted = [b"\"", text, b"\""].concat();
                let plain: Option<String> = serde_json::from_slice(&quoted).ok();
                found.take(plain.unwrap_or_default().as_bytes());
            } else {
                found.take(text);
            }
            rest = after;
        } else if byte.is_ascii_digit() || *byte == b'-' {
            let end = rest
                .iter()
                .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'));
            let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
            found.take(number);
            rest = after;
        } else {
            rest = next;
        }
    }
}

/// The text up to the closing quote, whether it has escapes, and what comes after.
fn string(bytes: &[u8]) -> (&[u8], bool, &[u8]) {
    let (mut at, mut escaped) = (0, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let text = bytes.get(..at).unwrap_or_default();
                return (text, escaped, bytes.get(at + 1..).unwrap_or_default());
            }
            b'\\' => {
                escaped = true;
                at += 2;
            }
            _ => at += 1,
        }
    }
    (bytes, escaped, &[])
}

/// Reads a whole number text, exactly. Nothing for what is no number or fits no decimal of the contract.
pub(crate) fn parse(text: &[u8]) -> Option<Atto> {
    let (negative, text) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let (number, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => {
            let exponent = std::str::from_utf8(text.get(at + 1..)?).ok()?;
            (text.get(..at)?, exponent.parse::<i32>().ok()?)
        }
        None => (text, 0),
    };
    let mut digits = number.iter();
    let (mut value, mut places, mut behind_point, mut any) = (0_i128, 0_i32, false, false);
    // Zeros at the end are held back, so that `0.50000000000000000000` is a number of one place.
    let (mut zeros, mut zeros_places) = (0_u32, 0_i32);
    for byte in digits.by_ref() {
        match byte {
            b'.' if !behind_point => behind_point = true,
            b'0' => {
                any = true;
                zeros += 1;
                zeros_places += i32::from(behind_point);
            }
            b'1'..=b'9' => {
                any = true;
                let shift = 10_i128.checked_pow(if value == 0 { 0 } else { zeros + 1 })?;
                value = value.checked_mul(shift)?.checked_add(i128::from(byte - b'0'))?;
                places += zeros_places + i32::from(behind_point);
                (zeros, zeros_places) = (0, 0);
            }
            _ => return None,
        }
    }
    if !any {
        return None;
    }
    // Held zeros in front of the point count, those after it do not.
    let whole_zeros = i32::try_from(zeros).ok()? - zeros_places;
    let up = PLACES.checked_add(exponent)?.checked_sub(places)?.checked_add(whole_zeros)?;
    let value =
        if value == 0 { 0 } else { value.checked_mul(10_i128.checked_pow(u32::try_from(up).ok()?)?)? };
    (value < LIMIT).then_some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Atto = 10_i128.pow(18);

    #[test]
    fn number_texts_are_read_exactly() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0.000", Some(0)),
            ("1", Some(ONE)),
            ("100", Some(100 * ONE)),
            ("1.50", Some(3 * ONE / 2)),
            ("0.0100", Some(ONE / 100)),
            ("1.05", Some(105 * ONE / 100)),
            ("-20.5", Some(-205 * ONE / 10)),
            ("1e3", Some(1000 * ONE)),
            ("1.2e-3", Some(12 * ONE / 10_000)),
            ("0.000000000000000001", Some(1)),
            ("0.00000000000000000100", Some(1)),
            ("0.0000000000000000001", None),
            ("9223372036854775807", Some(9_223_372_036_854_775_807 * ONE)),
            ("99999999999999999999999999", None),
            ("1e999999999999", None),
            ("", None),
            ("-", None),
            (".", None),
            ("1.2.3", None),
            ("12a", None),
        ] {
            assert_eq!(parse(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_known_rounded() {
        let numbers = |text: &str| Numbers::of(format!("[\"{text}\"]").as_bytes(), true);
        let rounded = |text: &str, to: &str| numbers(text).contains_calculated(parse(to.as_bytes()).unwrap());
        assert!(rounded("88957542893.771927925084", "88957542893.7719279"));
        assert!(rounded("-923456789012345678.5", "-923456789012345678"), "half to even");
        assert!(rounded("923456789012345677.5", "923456789012345678"), "half to even");
        assert!(rounded("923456789012345676.51", "923456789012345677"));
        assert!(rounded("0.1234567890123456789", "0.123456789012345679"));
        assert!(rounded("-0.00018774088690145984", "-0.00018774088690146"), "18 places");
        assert!(
            rounded("5.1e-19", "0.000000000000000001") && rounded("4e-30", "0") && rounded("4e-99999", "0")
        );
        assert!(!rounded("88957542893.771927925084", "88957542893.771928"));
    }

    #[test]
    fn json_numbers_are_whole_scalars() {
        let text = br#"{"p":"1.5","BTC-2":[2,"3x", -4 ],"e":"\u0035","q":6e1,"x":7"#;
        let numbers = Numbers::of(text, true);
        let expected: Vec<Atto> = [-4 * ONE, 3 * ONE / 2, 2 * ONE, 5 * ONE, 7 * ONE, 60 * ONE].to_vec();
        assert_eq!(numbers.all(), expected);
        assert!(numbers.contains(2 * ONE) && !numbers.contains(3 * ONE));
        assert_eq!(numbers.between(2 * ONE, 7 * ONE).len(), 3);
    }
}
