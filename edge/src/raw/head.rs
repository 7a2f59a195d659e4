//! The state that later frames need, at the begin of each segment: instrument lists, answers of reference polls, the running adapter.

use std::collections::{BTreeMap, VecDeque};

use super::segment::{BlockEntry, write_block};

/// Address of the running adapter: before every other.
pub(super) const ADAPTER: &str = "";

/// Encoded blocks by address.
#[derive(Debug, Default)]
pub(super) struct SegmentHead {
    blocks: BTreeMap<String, Vec<u8>>,
    /// Addresses, the newest answer last.
    order: VecDeque<String>,
    bytes: usize,
}

impl SegmentHead {
    /// Replaces what the address gave before. The oldest answers make room, then the new one is left out. Gives the number of those that are.
    pub(super) fn set(&mut self, url: &str, at_ns: i64, compressed: &[u8], bytes_max: usize) -> usize {
        let entry = BlockEntry { first_ns: at_ns, last_ns: at_ns, lines: 1, is_head: true };
        let mut block = Vec::with_capacity(compressed.len() + 64);
        write_block(&mut block, &entry, compressed);
        self.remove(url);
        self.bytes += block.len();
        self.blocks.insert(url.to_owned(), block);
        self.order.push_back(url.to_owned());
        let mut left_out = 0;
        while self.bytes > bytes_max {
            let Some(oldest) = self.order.iter().find(|url| *url != ADAPTER).cloned() else { break };
            self.remove(&oldest);
            left_out += 1;
        }
        left_out
    }

    fn remove(&mut self, url: &str) {
        if let Some(block) = self.blocks.remove(url) {
            self.bytes -= block.len();
            self.order.retain(|one| one != url);
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for block in self.order.iter().filter_map(|url| self.blocks.get(url)) {
            out.extend(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_keeps_within_its_bytes_and_never_loses_the_adapter() {
        let (mut head, data) = (SegmentHead::default(), [0; 1_000]);
        assert_eq!(head.set(ADAPTER, 1, b"sim 1", 2_500), 0);
        let left_out = ["a", "b", "a", "c"].map(|url| head.set(url, 2, &data, 2_500));
        assert_eq!(left_out, [0, 0, 0, 1]);
        assert_eq!(head.order, [ADAPTER, "a", "c"]);
        assert_eq!(head.set("large", 3, &[0; 3_000], 2_500), 3, "the answer itself has no room");
        assert_eq!(head.order, [ADAPTER]);
        let mut written = Vec::new();
        head.write(&mut written);
        assert_eq!(written.len(), head.bytes);
    }
}
