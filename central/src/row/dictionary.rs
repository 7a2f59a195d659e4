//! A `LowCardinality(String)` column of the Native format: distinct texts, then an index per row.

use std::collections::HashMap;

use super::binary;

/// Serialization version: a dictionary per block.
const VERSION: u64 = 1;
/// Flags: the block holds all its keys, and they replace earlier ones.
const KEYS_IN_THE_BLOCK: u64 = 0x600;

/// Texts with their length prefixes in order of appearance, and the index of each row.
#[derive(Debug, Default)]
pub struct Dictionary<'a> {
    keys: Vec<&'a [u8]>,
    places: HashMap<&'a [u8], u32>,
    rows: Vec<u32>,
    /// Most rows repeat the previous text.
    last: Option<(&'a [u8], u32)>,
}

impl<'a> Dictionary<'a> {
    pub fn push(&mut self, text: &'a [u8]) {
        let place = match self.last {
            Some((last, place)) if last == text => place,
            _ => *self.places.entry(text).or_insert_with(|| {
                self.keys.push(text);
                place_of_last(&self.keys)
            }),
        };
        self.last = Some((text, place));
        self.rows.push(place);
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let width = match self.keys.len() {
            0..=0x100 => 0_u8,
            0x101..=0x1_0000 => 1,
            _ => 2,
        };
        binary::uint64(out, VERSION);
        binary::uint64(out, KEYS_IN_THE_BLOCK | u64::from(width));
        binary::uint64(out, number(self.keys.len()));
        for key in &self.keys {
            out.extend_from_slice(key);
        }
        binary::uint64(out, number(self.rows.len()));
        for place in &self.rows {
            let bytes = place.to_le_bytes();
            out.extend_from_slice(bytes.get(..1 << width).unwrap_or(&bytes));
        }
    }
}

fn place_of_last(keys: &[&[u8]]) -> u32 {
    // A batch with more rows than `u32::MAX` does not fit into memory.
    u32::try_from(keys.len() - 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Indices are as narrow as the number of keys permits.
    #[test]
    fn dictionary_indices_are_as_narrow_as_possible() {
        for (count, width) in [(1_usize, 1_usize), (256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let texts: Vec<Vec<u8>> = (0..count).map(|i| format!("\x05{i:05}").into_bytes()).collect();
            let mut dictionary = Dictionary::default();
            for text in &texts {
                dictionary.push(text);
            }
            let mut out = Vec::new();
            dictionary.write(&mut out);
            let keys: usize = texts.iter().map(Vec::len).sum();
            assert_eq!(out.len(), 24 + keys + 8 + count * width, "{count}");
            let last = u32::try_from(count - 1).unwrap().to_le_bytes();
            assert_eq!(out[out.len() - width..], last[..width]);
        }
    }
}
