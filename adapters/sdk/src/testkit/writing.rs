//! Variants of a frame: damaged, and rewritten with the same meaning.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A seeded generator, so that failures are reproducible.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// A generator whose numbers follow from the seed.
    pub fn new(seed: u64) -> Random {
        // Zero is the one state that the generator never leaves.
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below the limit; 0 for a limit of 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or(0)
    }

    /// One of several.
    pub(crate) fn one_of<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len()))
    }
}

/// Cuts, changes, removes, inserts or repeats, once.
pub fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    const NASTY: &[u8] = b"\"\\{}[],:0123456789.-eE \n\0\xff\xc3tfn";
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    let nasty = random.one_of(NASTY).copied().unwrap_or(b'"');
    let bit = 1 << random.below(8);
    match (random.below(6), bytes.get_mut(at)) {
        (0, _) => bytes.truncate(at),
        (1, Some(byte)) => *byte ^= bit,
        (2, Some(byte)) => *byte = nasty,
        (3, _) => {
            bytes.remove(at);
        }
        (4, _) => bytes.insert(at, nasty),
        _ => {
            let end = (at + random.below(40)).min(bytes.len());
            let copy = bytes.get(at..end).unwrap_or_default().to_vec();
            bytes.splice(at..at, copy);
        }
    }
}

/// Writes a JSON text again: keys in any order, with blanks, escapes and exponents. Numbers are texts throughout, so that no digit is lost.
pub fn rewrite(json: &str, text: &mut Vec<u8>, random: &mut Random) -> Result<(), serde_json::Error> {
    blank(text, random);
    match json.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(json)?;
            let mut members: Vec<(String, &RawValue)> = members.into_iter().collect();
            for index in (1..members.len()).rev() {
                members.swap(index, random.below(index + 1));
            }
            text.push(b'{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                blank(text, random);
                write_text(&key, text, random);
                blank(text, random);
                text.push(b':');
                rewrite(value.get(), text, random)?;
            }
            text.push(b'}');
        }
        Some(b'[') => {
            text.push(b'[');
            for (index, value) in serde_json::from_str::<Vec<&RawValue>>(json)?.into_iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                rewrite(value.get(), text, random)?;
            }
            blank(text, random);
            text.push(b']');
        }
        // Numbers in quotes keep their form: no venue escapes digits.
        Some(b'"') if !is_quoted_number(json) => {
            write_text(&serde_json::from_str::<String>(json)?, text, random);
        }
        Some(b'-' | b'0'..=b'9') => write_number(json, text, random),
        _ => text.extend_from_slice(json.as_bytes()),
    }
    blank(text, random);
    Ok(())
}

fn is_quoted_number(json: &str) -> bool {
    json.trim_start_matches('"').starts_with(|letter: char| letter.is_ascii_digit() || letter == '-')
}

/// A number with a point also as one with an exponent; integers, which may be ids, stay.
fn write_number(json: &str, text: &mut Vec<u8>, random: &mut Random) {
    match json.split_once('.') {
        Some((integer, fraction)) if random.below(4) == 0 && !fraction.contains(['e', 'E']) => {
            let digits = format!("{integer}{fraction}");
            let (sign, digits) =
                digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
            let digits = digits.trim_start_matches('0');
            let digits = if digits.is_empty() { "0" } else { digits };
            text.extend_from_slice(format!("{sign}{digits}e-{}", fraction.len()).as_bytes());
        }
        _ => text.extend_from_slice(json.as_bytes()),
    }
}

/// Writes a string, some of its letters as escapes.
fn write_text(string: &str, text: &mut Vec<u8>, random: &mut Random) {
    text.push(b'"');
    for letter in string.chars() {
        if random.below(16) == 0 || matches!(letter, '"' | '\\') {
            text.extend_from_slice(format!("\\u{:04x}", letter as u32).as_bytes());
        } else {
            text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    text.push(b'"');
}

/// Writes blanks, now and then.
fn blank(text: &mut Vec<u8>, random: &mut Random) {
    if random.below(8) == 0 {
        text.extend_from_slice(random.one_of(&[&b" "[..], b"\n", b"\t \r"]).copied().unwrap_or_default());
    }
}
