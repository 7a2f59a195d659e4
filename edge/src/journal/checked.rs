//! Checksummed frames of an append-only file: a checksummed header, so that a damaged length is found, and a checksummed body. After damage
//! the scanner goes on at the next valid frame; what has none after it is a torn tail.
//!
//! Magic and length come first, the length counts everything after it: with one of its magic numbers a frame is a skippable frame of
//! Zstandard.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Checksum of the body, checksum of magic, length and that checksum.
const CHECKS_BYTES: usize = 8 + 4;
const HEADER_BYTES: usize = 4 + 4 + CHECKS_BYTES;
const CHECKED_BYTES: usize = HEADER_BYTES - 4;
/// Largest length that the scanner accepts; a message of a broker is smaller.
const LENGTH_MAX: usize = 128 << 20;

/// Appends a frame with the body that `write` appends.
pub fn write_checked(out: &mut Vec<u8>, magic: [u8; 4], write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; HEADER_BYTES]);
    write(out);
    let Some((header, body)) = out.get_mut(start..).and_then(|frame| frame.split_first_chunk_mut()) else {
        return;
    };
    *header = header_of(magic, body);
}

fn header_of(magic: [u8; 4], body: &[u8]) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(CHECKS_BYTES + body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let [a, b, c, d] = magic;
    let [e, f, g, h] = length;
    let [i, j, k, l, m, n, o, p] = body_check(body).to_le_bytes();
    let checked = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p];
    let mut header = [0; HEADER_BYTES];
    let (to, check) = header.split_at_mut(CHECKED_BYTES);
    to.copy_from_slice(&checked);
    check.copy_from_slice(&head_check(&checked).to_le_bytes());
    header
}

/// XXH3 is several times slower right behind this length, which most events have.
const QUICK_BYTES: usize = 240;

fn body_check(body: &[u8]) -> u64 {
    match body.split_at_checked(QUICK_BYTES) {
        Some((first, rest)) if rest.len() <= QUICK_BYTES => xxh3_64_with_seed(rest, xxh3_64(first)),
        _ => xxh3_64(body),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "half of the checksum is enough for 16 bytes")]
fn head_check(checked: &[u8]) -> u32 {
    xxh3_64(checked) as u32
}

/// Counts of what is no valid frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentDamage {
    /// Places with bytes that are no frame, before a valid one.
    pub places: u64,
    /// Bytes after the last valid frame.
    pub torn_bytes: u64,
}

/// Content of a frame by its body and the bytes after it, and how many of these belong to it.
type ParseFrame<'a, T> = fn(&'a [u8], &'a [u8]) -> Option<(T, usize)>;

/// Valid frames, in order.
#[derive(Debug)]
pub struct CheckedScanner<'a, T> {
    bytes: &'a [u8],
    at: usize,
    damage: SegmentDamage,
    magic: [u8; 4],
    parse: ParseFrame<'a, T>,
}

impl<'a, T> CheckedScanner<'a, T> {
    pub const fn of(bytes: &'a [u8], at: usize, magic: [u8; 4], parse: ParseFrame<'a, T>) -> Self {
        Self { bytes, at, damage: SegmentDamage { places: 0, torn_bytes: 0 }, magic, parse }
    }

    /// End of the last valid frame.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Complete after the last frame.
    pub const fn damage(&self) -> SegmentDamage {
        self.damage
    }

    /// The first bytes of a file in which no frame was found, if they are the magic of another version: it differs in one byte. A write that did not
    /// end, or a damaged disk, leaves anything else.
    pub fn other_magic(&self) -> Option<[u8; 4]> {
        let first = *self.bytes.first_chunk()?;
        let equal = first.iter().zip(&self.magic).filter(|(one, other)| one == other).count();
        (self.at == 0 && equal == 3).then_some(first)
    }

    fn frame_at(&self, at: usize) -> Option<(T, usize)> {
        let rest = self.bytes.get(at..)?;
        let (header, after) = rest.split_first_chunk::<HEADER_BYTES>()?;
        let mut fields = Fields(header.get(self.magic.len()..)?);
        let (length, check_of_body) =
            (u32::from_le_bytes(fields.take()?), u64::from_le_bytes(fields.take()?));
        let check = u32::from_le_bytes(fields.take()?);
        let length = usize::try_from(length).ok().filter(|length| *length <= LENGTH_MAX)?;
        if !header.starts_with(&self.magic) || head_check(header.get(..CHECKED_BYTES)?) != check {
            return None;
        }
        let (body, following) = after.split_at_checked(length.checked_sub(CHECKS_BYTES)?)?;
        if body_check(body) != check_of_body {
            return None;
        }
        let (frame, used) = (self.parse)(body, following)?;
        Some((frame, at + HEADER_BYTES + body.len() + used))
    }

    /// The next valid frame behind damage.
    fn recover(&mut self) -> Option<(T, usize)> {
        let from = self.at + 1;
        let rest = self.bytes.get(from..)?;
        let starts = rest.windows(self.magic.len()).enumerate().filter(|(_, window)| *window == self.magic);
        starts.map(|(offset, _)| from + offset).find_map(|at| self.frame_at(at))
    }
}

impl<T> Iterator for CheckedScanner<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let found = self.frame_at(self.at).or_else(|| {
            let found = self.recover();
            self.damage.places += u64::from(found.is_some());
            found
        });
        let Some((frame, end)) = found else {
            self.damage.torn_bytes = u64::try_from(self.bytes.len() - self.at).unwrap_or(u64::MAX);
            return None;
        };
        self.at = end;
        Some(frame)
    }
}

/// Fields of a body, in order.
pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 4] = *b"TEST";

    fn bodies(bytes: &[u8]) -> (Vec<&[u8]>, SegmentDamage) {
        let mut scanner = CheckedScanner::of(bytes, 0, MAGIC, |body, _| Some((body, 0)));
        (scanner.by_ref().collect(), scanner.damage())
    }

    /// The checksum takes bodies of up to 240 bytes whole, of up to 480 in two parts, and longer ones in steps.
    #[test]
    fn a_flipped_bit_is_found_in_bodies_of_every_length() {
        for length in [0, 1, 239, 240, 241, 479, 480, 481, 2_000] {
            let body: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut bytes = Vec::new();
            for _ in 0..2 {
                write_checked(&mut bytes, MAGIC, |out| out.extend_from_slice(&body));
            }
            assert_eq!(bodies(&bytes), (vec![&body[..]; 2], SegmentDamage::default()), "{length}");
            for at in 0..bytes.len() / 2 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x10;
                let damage = SegmentDamage { places: 1, torn_bytes: 0 };
                assert_eq!(bodies(&flipped), (vec![&body[..]], damage), "{length} bytes, byte {at}");
            }
        }
    }

    #[test]
    fn damaged_first_bytes_are_no_other_version() {
        for (first, is_other) in [(*b"TES1", true), (*b"TEST", false), (*b"OTHR", false), ([0; 4], false)] {
            let bytes = [&first[..], &[7; 60]].concat();
            let scanner = CheckedScanner::of(&bytes, 0, MAGIC, |body: &[u8], _| Some((body.len(), 0)));
            assert_eq!(scanner.other_magic().is_some(), is_other, "{first:?}");
        }
    }
}
