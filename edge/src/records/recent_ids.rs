//! Deduplication by event id, within a window of recent ids.

use std::collections::VecDeque;

use marketprism_schema::{DataType, EventId};
use rustc_hash::FxHashSet;

use crate::limits::{RECENT_IDS_MAX, RECENT_TRADE_IDS_MAX};

/// The latest event ids of one data type of one instrument. Duplicates come from overlapping connections, a venue's backlog, and polls
/// of a value that did not change.
#[derive(Debug)]
pub(super) struct RecentIds {
    most: usize,
    order: VecDeque<u64>,
    ids: FxHashSet<u64>,
}

impl RecentIds {
    pub(super) fn of(kind: DataType) -> Self {
        let most = if kind == DataType::Trade { RECENT_TRADE_IDS_MAX } else { RECENT_IDS_MAX };
        Self { most, order: VecDeque::new(), ids: FxHashSet::default() }
    }

    /// False for an id that is in the window.
    pub(super) fn insert(&mut self, id: EventId) -> bool {
        // Half of a hash over 128 bits: among 4,096 ids two collide by chance once in 10^12 windows.
        let id = low_half(id);
        if !self.ids.insert(id) {
            return false;
        }
        if self.order.len() >= self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        self.order.push_back(id);
        true
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
const fn low_half(id: EventId) -> u64 {
    id.0 as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_is_detected_while_its_id_is_in_the_bounded_window() {
        let mut recent = RecentIds::of(DataType::Trade);
        for id in 0..10_000_u128 {
            assert!(recent.insert(EventId(id)));
            assert!(!recent.insert(EventId(id)));
            assert!(!recent.insert(EventId(id.saturating_sub(4_000).max(id.saturating_sub(4_095)))));
        }
        assert_eq!((recent.order.len(), recent.ids.len()), (RECENT_TRADE_IDS_MAX, RECENT_TRADE_IDS_MAX));
        assert!(recent.insert(EventId(1)), "its id left the window");
    }
}
