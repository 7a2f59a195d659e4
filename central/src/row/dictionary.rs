//! Values of a `LowCardinality(String)` column: each text once, and its index in every row.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::values::{gathered, part, span, write_count, write_length};

/// Serialization version: a dictionary per block.
const VERSION: usize = 1;
/// Flags: the block holds all its keys, and they replace earlier ones.
const KEYS_IN_THE_BLOCK: usize = 0x600;
/// A text of no row that is written so far.
const UNWRITTEN: u32 = u32::MAX;
const FEW_TEXTS: usize = 4;

#[derive(Debug, Default)]
pub struct TextDictionary {
    texts: Vec<u8>,
    ends: Vec<usize>,
    /// Index of each text by its hash, or by the next free number after it.
    places: HashMap<u64, u32, BuildHasherDefault<HashAsItIs>>,
    /// Index of each row's text.
    rows: Vec<u32>,
}

impl TextDictionary {
    pub fn with_capacity(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn bytes(&self) -> usize {
        self.texts.len() + size_of_val(self.rows.as_slice())
    }

    pub fn push(&mut self, text: &[u8]) {
        let place = match self.rows.last() {
            Some(&last) if self.text(last) == text => last,
            _ => self.place(text),
        };
        self.rows.push(place);
    }

    /// Pushes the text of the row before. False if there is none.
    pub fn repeat(&mut self) -> bool {
        let last = self.rows.last().copied();
        self.rows.extend(last);
        last.is_some()
    }

    fn text(&self, place: u32) -> &[u8] {
        let place = index(place);
        part(&self.texts, span(&self.ends, &(place..place + 1)))
    }

    fn place(&mut self, text: &[u8]) -> u32 {
        // Such as the sides of trades, which change from row to row: compared faster than hashed.
        if self.ends.len() <= FEW_TEXTS {
            let few = u32::try_from(self.ends.len()).unwrap_or_default();
            if let Some(place) = (0..few).find(|&place| self.text(place) == text) {
                return place;
            }
        }
        let mut hash = xxh3_64(text);
        while let Some(&place) = self.places.get(&hash) {
            if self.text(place) == text {
                return place;
            }
            hash = hash.wrapping_add(1);
        }
        // A batch with more texts than `u32::MAX` does not fit into memory.
        let place = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.texts.extend_from_slice(text);
        self.ends.push(self.texts.len());
        self.places.insert(hash, place);
        place
    }

    /// Texts that no row has any more are not written.
    pub fn truncate(&mut self, len: usize) {
        self.rows.truncate(len);
    }

    pub fn keep(&mut self, kept: &[Range<usize>]) {
        self.rows = gathered(&self.rows, kept);
    }

    pub fn write_prefix(out: &mut Vec<u8>) {
        write_count(out, VERSION);
    }

    /// Texts of these rows in order of appearance, then the index of each row.
    pub fn write(&self, range: Range<usize>, out: &mut Vec<u8>) {
        let rows = part(&self.rows, range);
        // The server reads nothing of an empty column, which an array may have.
        if rows.is_empty() {
            return;
        }
        let mut keys: Vec<u32> = Vec::new();
        // Index of each text among those written.
        let mut written = vec![UNWRITTEN; self.ends.len()];
        for of_text in rows.chunk_by(|one, next| one == next) {
            if let Some(&place) = of_text.first()
                && let Some(slot) = written.get_mut(index(place)).filter(|slot| **slot == UNWRITTEN)
            {
                *slot = u32::try_from(keys.len()).unwrap_or(UNWRITTEN);
                keys.push(place);
            }
        }
        let width = match keys.len() {
            0..=0x100 => 0_usize,
            0x101..=0x1_0000 => 1,
            _ => 2,
        };
        write_count(out, KEYS_IN_THE_BLOCK | width);
        write_count(out, keys.len());
        for key in keys {
            let text = self.text(key);
            write_length(out, text.len());
            out.extend_from_slice(text);
        }
        write_count(out, rows.len());
        let indices = rows.iter().map(|&place| written.get(index(place)).copied().unwrap_or_default());
        match width {
            0 => out.extend(indices.map(|index| u8::try_from(index).unwrap_or_default())),
            1 => indices.for_each(|index| {
                out.extend_from_slice(&u16::try_from(index).unwrap_or_default().to_le_bytes());
            }),
            _ => indices.for_each(|index| out.extend_from_slice(&index.to_le_bytes())),
        }
    }
}

fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// The keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
struct HashAsItIs(u64);

impl Hasher for HashAsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Indices are as narrow as the number of keys permits.
    #[test]
    fn dictionary_indices_are_as_narrow_as_possible() {
        for (count, width) in [(1_usize, 1_usize), (256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let mut dictionary = TextDictionary::default();
            for i in 0..count {
                dictionary.push(format!("{i:05}").as_bytes());
            }
            let mut out = Vec::new();
            dictionary.write(0..count, &mut out);
            assert_eq!(out.len(), 16 + 6 * count + 8 + count * width, "{count}");
            let last = u32::try_from(count - 1).unwrap().to_le_bytes();
            assert_eq!(out[out.len() - width..], last[..width]);
        }
    }

    #[test]
    fn only_texts_of_the_written_rows_are_written() {
        let mut dictionary = TextDictionary::default();
        for text in ["a", "b", "b", "c", "a"] {
            dictionary.push(text.as_bytes());
        }
        let mut out = Vec::new();
        dictionary.write(1..4, &mut out);
        let numbers = |values: &[u64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(out, [&numbers(&[0x600, 2]), &b"\x01b\x01c"[..], &numbers(&[3]), &[0, 0, 1]].concat());
    }

    /// Two texts with one hash are unlikely; the second one takes the next number.
    #[test]
    fn a_text_whose_hash_is_taken_is_still_found() {
        let mut dictionary = TextDictionary::default();
        for other in 0..=FEW_TEXTS {
            dictionary.push(format!("{other}").as_bytes());
        }
        let (others, first) = (dictionary.ends.len(), u32::try_from(FEW_TEXTS + 1).unwrap());
        dictionary.places.insert(xxh3_64(b"b"), 0);
        for text in [b"b", b"0", b"b"] {
            dictionary.push(text);
        }
        assert_eq!((&dictionary.rows[others..], dictionary.ends.len()), (&[first, 0, first][..], others + 1));
    }
}
