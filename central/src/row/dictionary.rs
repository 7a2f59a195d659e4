//! A column of few different texts, as the Native format has it: the texts once, then their places row by row.

use std::collections::HashMap;

use super::binary;

/// Version of the form: a dictionary for the block itself.
const VERSION: u64 = 1;
/// The block brings all its texts, and they replace those of a block before.
const KEYS_IN_THE_BLOCK: u64 = 0x600;

/// Texts with their lengths in front, in the order in which they appeared, and which of them each row has.
#[derive(Debug, Default)]
pub struct Dictionary<'a> {
    keys: Vec<&'a [u8]>,
    places: HashMap<&'a [u8], u32>,
    rows: Vec<u32>,
    /// Most rows have what the row before had.
    last: Option<(&'a [u8], u32)>,
}

impl<'a> Dictionary<'a> {
    /// Adds the text of the next row, its length in front.
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

    /// Writes the column's data.
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
    // A batch of more rows than 32 bits count does not fit memory.
    u32::try_from(keys.len() - 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the places are as wide as the number of texts asks for, and no wider. Method: numbers of texts around each limit.
    #[test]
    fn places_are_as_wide_as_needed() {
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
