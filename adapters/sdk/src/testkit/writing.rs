//! Variants of a frame: damaged ones, and equivalent texts.

use serde_json::Value;

/// A small generator (xorshift) with a seed, so that a failure is reproducible.
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

/// Writes a value with keys in any order, blanks and escapes.
pub fn write(value: &Value, text: &mut Vec<u8>, random: &mut Random) {
    blank(text, random);
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            for index in (1..members.len()).rev() {
                members.swap(index, random.below(index + 1));
            }
            text.push(b'{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                blank(text, random);
                write_text(key, text, random);
                blank(text, random);
                text.push(b':');
                write(value, text, random);
            }
            text.push(b'}');
        }
        Value::Array(elements) => {
            text.push(b'[');
            for (index, value) in elements.iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                write(value, text, random);
            }
            blank(text, random);
            text.push(b']');
        }
        // Numbers in quotes keep their form: no venue escapes digits.
        Value::String(string)
            if !string.starts_with(|letter: char| letter.is_ascii_digit() || letter == '-') =>
        {
            write_text(string, text, random);
        }
        other => text.extend_from_slice(other.to_string().as_bytes()),
    }
    blank(text, random);
}

/// Writes a string, some of its letters as escapes.
pub fn write_text(string: &str, text: &mut Vec<u8>, random: &mut Random) {
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
pub fn blank(text: &mut Vec<u8>, random: &mut Random) {
    if random.below(8) == 0 {
        text.extend_from_slice(random.one_of(&[&b" "[..], b"\n", b"\t \r"]).copied().unwrap_or_default());
    }
}
