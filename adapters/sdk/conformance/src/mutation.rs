//! Damage to frames, reproducible by its seed.

use marketprism_adapter_sdk::testkit::{self, Random};

/// Numbers that no field of a venue has.
const NUMBERS: [&[u8]; 14] = [
    b"99999999999999999999999999999999999999999999",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"0.0000000000000000001",
    b"0.1234567890123456789",
    b"1e999999999",
    b"1e-999999999",
    b"-0",
    b"00",
    b"NaN",
    b"4294967296",
];

const VALUES: [&[u8]; 8] = [b"null", b"true", b"{}", b"[]", b"\"\"", b"[[]]", b"{\"a\":1}", b"-1"];

/// Bytes that are not UTF-8, and half an escape.
const BAD_TEXTS: [&[u8]; 4] = [b"\xff\xfe", b"\xc3(", b"\xed\xa0\x80", b"\\ud800"];

/// Longest frame that is made longer by nesting.
const NESTED: usize = 20_000;

/// Damages a frame once or twice. `other` is a frame to splice with.
pub(crate) fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(2) {
        one(bytes, other, random);
    }
}

fn one(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(16) {
        0..=7 => testkit::damage(bytes, random),
        8 => {
            let from = random.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(other.get(from..).unwrap_or_default());
        }
        9 => {
            bytes.splice(at..at, one_of(&BAD_TEXTS, random).iter().copied());
        }
        10 | 11 => replace_number(bytes, random),
        12 => replace_value(bytes, random),
        13 | 14 => double_member(bytes, random),
        _ => nest(bytes, at, random),
    }
}

fn one_of<'a>(texts: &[&'a [u8]], random: &mut Random) -> &'a [u8] {
    texts.get(random.below(texts.len())).copied().unwrap_or_default()
}

/// A run of digits becomes a number that does not fit.
fn replace_number(bytes: &mut Vec<u8>, random: &mut Random) {
    let start = random.below(bytes.len() + 1);
    let digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let Some(from) = bytes.iter().skip(start).position(digit).map(|at| start + at) else { return };
    let length = bytes.iter().skip(from).take_while(|byte| digit(byte)).count();
    bytes.splice(from..from + length, one_of(&NUMBERS, random).iter().copied());
}

/// The value after a colon, up to a comma or a bracket, becomes another.
fn replace_value(bytes: &mut Vec<u8>, random: &mut Random) {
    let Some((_, value)) = member(bytes, random) else { return };
    bytes.splice(value, one_of(&VALUES, random).iter().copied());
}

/// A member of an object is doubled, with another value.
fn double_member(bytes: &mut Vec<u8>, random: &mut Random) {
    let Some((key, value)) = member(bytes, random) else { return };
    let mut copy = bytes.get(key.start..value.end).unwrap_or_default().to_vec();
    if let Some(digit) = copy.iter_mut().rev().find(|byte| byte.is_ascii_digit()) {
        *digit = b'0' + (*digit - b'0' + 1) % 10;
    }
    copy.push(b',');
    bytes.splice(key.start..key.start, copy);
}

type Span = std::ops::Range<usize>;

/// A `"key":value` whose value is a scalar: where the key and the value stand.
fn member(bytes: &[u8], random: &mut Random) -> Option<(Span, Span)> {
    let start = random.below(bytes.len() + 1);
    let colon = start + bytes.get(start..)?.windows(2).position(|pair| pair == b"\":")? + 1;
    let key = bytes.get(..colon - 1)?.iter().rposition(|byte| *byte == b'"')?;
    let rest = bytes.get(colon + 1..)?;
    let length = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b'{' | b'['))?;
    (length > 0).then_some((key..colon, colon + 1..colon + 1 + length))
}

/// Thousands of open brackets.
fn nest(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    if bytes.len() > NESTED {
        return bytes.truncate(at);
    }
    let open: &[u8] = if random.below(2) == 0 { b"[" } else { b"{\"a\":" };
    let depth = 1_000 + random.below(9_000);
    bytes.splice(at..at, open.repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_comes_from_the_seed() {
        let frames: [&[u8]; 4] = [b"", b"{", br#"{"a":1,"b":["2",{"c":"3.5"}],"d":null}"#, &[b'x'; 30_000]];
        let all = |seed| {
            let mut random = Random::new(seed);
            (0..4_000)
                .map(|round| {
                    let mut bytes = frames[round % 4].to_vec();
                    damage(&mut bytes, frames[(round + 1) % 4], &mut random);
                    bytes
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
        let changed =
            all(7).iter().enumerate().filter(|(round, bytes)| bytes[..] != *frames[round % 4]).count();
        assert!(changed > 2_500, "{changed}");
    }
}
