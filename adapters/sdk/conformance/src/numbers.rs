//! The numbers that stand in a frame, read by a scan that shares nothing with any adapter.

use marketprism_adapter_host::contract::Decimal;

/// A number times ten to the power of 18: every decimal of the contract is a whole number of these.
pub(crate) type Atto = i128;

/// Decimal places of [`Atto`].
const PLACES: i32 = 18;

/// Numbers from here on fit no decimal of the contract.
const LIMIT: Atto = 10_i128.pow(37);

/// The numbers of one or several frames, in order and once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers(Vec<Atto>);

/// The exact value.
pub(crate) fn atto(number: Decimal) -> Atto {
    let places = u32::from(18_u8.saturating_sub(number.scale));
    i128::from(number.mantissa) * 10_i128.pow(places)
}

impl Numbers {
    /// The numbers of a frame. In JSON a number is a whole scalar or a whole string; in any other text every run of digits counts.
    pub(crate) fn of(bytes: &[u8], is_json: bool) -> Self {
        let mut found = Vec::new();
        if is_json {
            scan_json(bytes, &mut found);
        } else {
            let is_part =
                |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
            found.extend(bytes.split(|byte| !is_part(byte)).filter_map(parse));
        }
        Numbers::from(found)
    }

    pub(crate) fn contains(&self, value: Atto) -> bool {
        self.0.binary_search(&value).is_ok()
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> &[Atto] {
        &self.0
    }

    /// Those from `low` to `high`, both included.
    pub(crate) fn between(&self, low: Atto, high: Atto) -> &[Atto] {
        let from = self.0.partition_point(|value| *value < low);
        let rest = self.0.get(from..).unwrap_or_default();
        rest.get(..rest.partition_point(|value| *value <= high)).unwrap_or_default()
    }

    /// Adds the numbers of another frame.
    pub(crate) fn add(&mut self, other: &Numbers) {
        let mut all = std::mem::take(&mut self.0);
        all.extend_from_slice(&other.0);
        *self = Numbers::from(all);
    }
}

impl From<Vec<Atto>> for Numbers {
    fn from(mut values: Vec<Atto>) -> Self {
        values.sort_unstable();
        values.dedup();
        Numbers(values)
    }
}

fn scan_json(bytes: &[u8], found: &mut Vec<Atto>) {
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'"' {
            let (text, escaped, behind) = string(after);
            if escaped {
                let quoted = [b"\"", text, b"\""].concat();
                let plain: Option<String> = serde_json::from_slice(&quoted).ok();
                found.extend(plain.and_then(|plain| parse(plain.as_bytes())));
            } else {
                found.extend(parse(text));
            }
            rest = behind;
        } else if byte.is_ascii_digit() || *byte == b'-' {
            let end = rest
                .iter()
                .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'));
            let (number, behind) = rest.split_at(end.unwrap_or(rest.len()));
            found.extend(parse(number));
            rest = behind;
        } else {
            rest = after;
        }
    }
}

/// The text up to the closing quote, whether it has escapes, and what comes behind.
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
    // Held zeros in front of the point count, those behind it do not.
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

    // Goal: numbers are read exactly, whatever their notation, and what is no whole number text is none. Method: each notation.
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

    // Goal: only whole scalars and strings count in JSON. Method: a text with numbers in names, escapes and halves.
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
