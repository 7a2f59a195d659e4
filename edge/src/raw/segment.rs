//! Blocks of a segment: an index entry in a skippable frame of Zstandard, then the compressed lines. Tools for Zstandard read a segment as
//! JSON lines; the entries hold its times and find damage without decompressing it.

use xxhash_rust::xxh3::xxh3_64;

use crate::journal::{CheckedScanner, Fields, write_checked};

/// One of the skippable frames.
const MAGIC: [u8; 4] = [0x5d, 0x2a, 0x4d, 0x18];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockEntry {
    /// Least and greatest time of its lines.
    pub(super) first_ns: i64,
    pub(super) last_ns: i64,
    pub(super) lines: u32,
    /// Lines of earlier segments, repeated: the state that later frames need.
    pub(super) is_head: bool,
}

impl BlockEntry {
    pub(super) const EMPTY: Self = Self { first_ns: i64::MAX, last_ns: i64::MIN, lines: 0, is_head: false };

    pub(super) fn add(&mut self, at_ns: i64) {
        self.first_ns = self.first_ns.min(at_ns);
        self.last_ns = self.last_ns.max(at_ns);
        self.lines += 1;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub(super) entry: BlockEntry,
    /// Compressed lines.
    pub(super) data: &'a [u8],
}

pub(super) fn write_block(out: &mut Vec<u8>, entry: &BlockEntry, data: &[u8]) {
    write_checked(out, MAGIC, |body| {
        body.extend(entry.first_ns.to_le_bytes());
        body.extend(entry.last_ns.to_le_bytes());
        body.extend(entry.lines.to_le_bytes());
        body.push(u8::from(entry.is_head));
        body.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
        body.extend(xxh3_64(data).to_le_bytes());
    });
    out.extend(data);
}

/// Valid blocks of a segment, in order.
pub(super) const fn blocks(bytes: &[u8]) -> CheckedScanner<'_, Block<'_>> {
    CheckedScanner::of(bytes, 0, MAGIC, |body, following| {
        let mut fields = Fields(body);
        let (first_ns, last_ns) = (i64::from_le_bytes(fields.take()?), i64::from_le_bytes(fields.take()?));
        let (lines, is_head) = (u32::from_le_bytes(fields.take()?), fields.byte()? != 0);
        let length = usize::try_from(u32::from_le_bytes(fields.take()?)).ok()?;
        let check = u64::from_le_bytes(fields.take()?);
        let data = following.get(..length).filter(|data| xxh3_64(data) == check)?;
        Some((Block { entry: BlockEntry { first_ns, last_ns, lines, is_head }, data }, length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::SegmentDamage;

    /// Three blocks, each with its end.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for number in 0..3 {
            let data = zstd::encode_all(format!("line {number}\n").as_bytes(), 3).unwrap();
            let entry = BlockEntry { first_ns: number, last_ns: number + 1, lines: 1, is_head: number == 0 };
            write_block(&mut bytes, &entry, &data);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn scan(bytes: &[u8]) -> (Vec<i64>, SegmentDamage) {
        let mut scanner = blocks(bytes);
        let found = scanner.by_ref().map(|block| block.entry.first_ns).collect();
        (found, scanner.damage())
    }

    #[test]
    fn a_segment_is_plain_lines_for_tools_of_zstandard() {
        assert_eq!(zstd::decode_all(&*segment().0).unwrap(), b"line 0\nline 1\nline 2\n");
    }

    #[test]
    fn a_tail_cut_at_any_byte_costs_the_blocks_that_it_cuts_and_no_other() {
        let (bytes, ends) = segment();
        for cut in 0..bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let end = ends.iter().copied().rfind(|end| *end <= cut).unwrap_or(0);
            let (found, damage) = scan(&bytes[..cut]);
            assert_eq!((found.len(), damage.places), (whole, 0), "cut at {cut}");
            assert_eq!(damage.torn_bytes, u64::try_from(cut - end).unwrap(), "cut at {cut}");
        }
    }

    #[test]
    fn any_flipped_bit_costs_its_block_and_is_counted() {
        let (bytes, ends) = segment();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (found, damage) = scan(&flipped);
            let hit = ends.iter().filter(|end| **end <= bit / 8).count();
            let left: Vec<i64> = (0..3).filter(|number| usize::try_from(*number).unwrap() != hit).collect();
            assert_eq!(found, left, "bit {bit}");
            assert_eq!(damage.places + u64::from(damage.torn_bytes > 0), 1, "bit {bit}");
        }
    }
}
