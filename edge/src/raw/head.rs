//! The state that later frames need, at the begin of each segment: instrument lists, answers of reference polls, the running adapter.

use std::collections::{BTreeMap, VecDeque};

use super::segment::{BlockEntry, write_block};
use crate::limits::RAW_HEAD_BYTES_MAX;

/// Encoded blocks by address; the adapter has the empty one.
#[derive(Debug, Default)]
pub(super) struct SegmentHead {
    blocks: BTreeMap<String, Vec<u8>>,
    /// Addresses, the newest answer last.
    order: VecDeque<String>,
    bytes: usize,
}

impl SegmentHead {
    /// Replaces what the address gave before. The oldest answers make room.
    pub(super) fn set(&mut self, url: &str, at_ns: i64, compressed: &[u8]) {
        let entry = BlockEntry { first_ns: at_ns, last_ns: at_ns, lines: 1, is_head: true };
        let mut block = Vec::with_capacity(compressed.len() + 64);
        write_block(&mut block, &entry, compressed);
        self.remove(url);
        self.bytes += block.len();
        self.blocks.insert(url.to_owned(), block);
        self.order.push_back(url.to_owned());
        while self.bytes > RAW_HEAD_BYTES_MAX && self.order.len() > 1 {
            let Some(oldest) = self.order.front().cloned() else { break };
            self.remove(&oldest);
        }
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
